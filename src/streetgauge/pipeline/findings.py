"""What commands have found of a study, where it still holds.

A module of its own, since the commands, the demo and the report all read it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streetgauge.io.formats import ANALYSIS_VERSION, read_object
from streetgauge.study import Study


def read_findings(study: Study, file: Path) -> dict[str, Any] | None:
    """Read a file such as age.json where it was made of the areas as they are now; None otherwise.

    Raises
    ------
    InputError
        If it cannot be read, or is of another version.
    """
    if not file.exists():
        return None
    step = f"make it again with `streetgauge {file.stem} {study.directory}`, or remove it"
    found = read_object(file, ANALYSIS_VERSION, step)
    return found if found.get("areas_sha256") == study.fingerprint(study.areas) else None
