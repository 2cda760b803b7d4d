"""The stages, one for each arrow of the flow: read a study's files, call a room, write its files.

Rooms work on arrays and frames and know no study; these modules are the only ones that know both.
"""

from streetgauge.stages.chain import (
    STAGES,
    require_fresh,
    require_upstream,
    stage_named,
    stages_of,
)
from streetgauge.stages.checks import check

__all__ = ["STAGES", "check", "require_fresh", "require_upstream", "stage_named", "stages_of"]
