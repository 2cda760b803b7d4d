"""``[evaluation]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict

from streetgauge.settings.base import Settings, Share

__all__ = ["EvaluationSettings"]


class EvaluationSettings(Settings):
    """``[evaluation]``: from locations to areas, and how good that is."""

    rule: Literal["mean-score"] = Field(
        "mean-score", description="mean score of an area's locations, cut into deciles"
    )
    coverage: Share = Field(
        0.9, description="of the areas' intervals and of the metrics' intervals"
    )
    draws: Annotated[int, Strict(), Field(ge=100)] = Field(1000, description="bootstrap draws")
    neighbours: Annotated[int, Strict(), Field(ge=1)] = Field(
        5, description="nearest labelled areas of the baseline that needs no picture"
    )
    oracle: Path | None = Field(
        None, description="table location_id, <outcome>...: the best scores possible, if known"
    )
