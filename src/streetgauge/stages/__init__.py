"""The stages, one for each arrow of the flow: read a study's files, call a room, write its files.

Rooms work on arrays and frames and know no study; these modules are the only ones that know both.
What each stage depends on, reads and writes is in `streetgauge.study.stages`.
"""

from streetgauge.stages.chain import run_stage
from streetgauge.stages.checks import check

__all__ = ["check", "run_stage"]
