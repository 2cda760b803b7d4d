"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real public files; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the real files are not here: {SHARED} does not exist")
    return SHARED
