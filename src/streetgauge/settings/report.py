"""``[report]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict, StrictBool

from streetgauge.settings.base import Positive, Settings

__all__ = ["ReportSettings"]


class ReportSettings(Settings):
    """``[report]``: what the page shows beside the numbers."""

    figures: Literal["all", "page", "none"] = Field(
        "all",
        description="`all`: every figure as SVG, PDF, PNG and CSV in `figures/`, and maps for "
        "slides; `page`: only what the page shows, as SVG and CSV, in a third of the time; `none`",
    )
    images: Literal["auto"] | StrictBool = Field(
        "auto",
        description="`auto`: show images whose licence is known; `true`: refuse to make a page "
        "without them; `false`: never show any. An image without a licence is never shown",
    )
    locations: Annotated[int, Strict(), Field(ge=1, le=12)] = Field(
        3, description="locations shown of the highest, of the median and of the lowest scores"
    )
    occlusion: bool = Field(
        True, description="show on one image of each group what in it moved the score"
    )
    area_images: Annotated[int, Strict(), Field(ge=0, le=6)] = Field(
        2, description="pictures on an area's card; 0 for none"
    )
    megabytes: Positive = Field(
        1.5, description="that images may add to the page; the most telling ones come first"
    )
