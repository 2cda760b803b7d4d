"""The one shape of location tables and of what is excluded from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from streetgauge.skips import SKIP_COLUMNS

COLUMNS = ["location_id", "postcode", "lat", "lon", "oa", "lsoa", "msoa", "area"]


def location_frame(columns: pd.DataFrame) -> pd.DataFrame:
    """Put columns (missing: None, NaN) in order, sorted by location_id."""
    frame = pd.DataFrame(columns, columns=pd.Index(COLUMNS))
    for column in COLUMNS:
        frame[column] = frame[column].astype("float64" if column in ("lat", "lon") else "str")
    return frame.sort_values("location_id", ignore_index=True)


def sorted_frame(columns: dict[str, Any]) -> pd.DataFrame:
    """Do as `location_frame`, for arrow columns, of which there may be millions of rows."""
    table = pa.table({name: columns[name] for name in COLUMNS})
    frame = table.take(pc.sort_indices(table["location_id"])).to_pandas()
    for column in ("lat", "lon"):
        frame[column] = frame[column].astype("float64")
    texts: pd.DataFrame = frame.astype({n: "str" for n in COLUMNS if n not in ("lat", "lon")})
    return texts


def skip_frame(
    reason: str | Sequence[str],
    *,
    location_id: Sequence[str] | None = None,
    area: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Rows of ``skipped``: what is excluded at the stage "locations", and why."""
    keys = location_id if location_id is not None else area if area is not None else []
    count = len(keys)
    return pd.DataFrame(
        {
            "location_id": _objects(location_id, count),
            "view": _objects(None, count),
            "area": _objects(area, count),
            "stage": "locations",
            "reason": reason,
        },
        index=range(count),
        columns=pd.Index(SKIP_COLUMNS),
    )


def _objects(values: Sequence[str] | None, count: int) -> np.ndarray[Any, Any]:
    filled = np.full(count, None, dtype=object)
    if values is not None:
        filled[:] = list(values)
    return filled


def concat_skips(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of the parts that have rows; an empty one with the columns if none has."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else skip_frame("")
