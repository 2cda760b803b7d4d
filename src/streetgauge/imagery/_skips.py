"""The frame of what is left out, with a reason for each row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

COLUMNS = ("location_id", "view", "area", "stage", "reason")


def skips_frame(rows: Iterable[Mapping[str, str | None]], stage: str = "features") -> pd.DataFrame:
    """Skips as a frame of text, sorted; what a row does not name is None."""
    records = [{**dict.fromkeys(COLUMNS), "stage": stage, **row} for row in rows]
    frame = pd.DataFrame(records, columns=list(COLUMNS)).astype(object)
    frame = frame.where(frame.notna(), None)
    order = ["location_id", "view", "reason"]
    return frame.sort_values(order, key=lambda values: values.fillna(""), ignore_index=True)
