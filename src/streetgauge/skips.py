"""What is left out, and why: one shape of table, everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

__all__ = ["SKIP_COLUMNS", "left_out", "skips_frame", "without_value"]

SKIP_COLUMNS = ("location_id", "view", "area", "stage", "reason")


def skips_frame(rows: Iterable[Mapping[str, str | None]], stage: str = "features") -> pd.DataFrame:
    """Skips as a frame of text, sorted; what a row does not name is None."""
    records = [{**dict.fromkeys(SKIP_COLUMNS), "stage": stage, **row} for row in rows]
    frame = pd.DataFrame(records, columns=list(SKIP_COLUMNS)).astype(object)
    frame = frame.where(frame.notna(), None)
    order = ["location_id", "view", "reason"]
    return frame.sort_values(order, key=lambda values: values.fillna(""), ignore_index=True)


def left_out(skips: pd.DataFrame) -> tuple[str, ...]:
    """Count what was left out by reason, for the screen."""
    if not len(skips):
        return ()
    counts = skips["reason"].value_counts()
    lines = [f"left out: {count:,} {reason}" for reason, count in counts.head(6).items()]
    if len(counts) > 6:
        lines.append(f"left out: {counts.iloc[6:].sum():,} for {len(counts) - 6} other reasons")
    return tuple(lines)


def without_value(about: Mapping[str, Any]) -> str:
    """Say which share of the study's areas an outcome says nothing of; "" if of none.

    Parameters
    ----------
    about : mapping
        What is kept of the outcome; ``n_areas`` have a value, ``n_missing`` have none.

    Examples
    --------
    >>> without_value({"n_areas": 96, "n_missing": 4})
    '4 % of areas have no value'
    """
    missing, having = about.get("n_missing") or 0, about.get("n_areas") or 0
    if not missing:
        return ""
    share = 100 * missing / (missing + having)
    return f"{'under 1' if share < 1 else f'{share:.0f}'} % of areas have no value"
