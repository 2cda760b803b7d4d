"""What is left out, and why: one shape of table, everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

__all__ = ["SKIP_COLUMNS", "left_out", "skips_frame"]

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
