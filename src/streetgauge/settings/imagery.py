"""``[imagery]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streetgauge.settings.base import Settings, Text

__all__ = ["ImagerySettings"]


class ImagerySettings(Settings):
    """``[imagery]``: where the pictures are, and which belong to a location."""

    folder: Path = Field(description="where the pictures are")
    pattern: Text = Field(
        "{location_id}_{view}.jpg", description="file names; {location_id} and {view} vary"
    )
    manifest: Path | None = Field(
        None, description="table with location_id, view, path (relative to folder), not a pattern"
    )
    views: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        ("a", "b", "c", "d"), description="what {view} can be"
    )
    require: Literal["all", "any"] = Field(
        "all", description="use a location only with all its views, or with any"
    )

    @model_validator(mode="after")
    def _pattern_has_its_fields(self) -> Self:
        for part in ("{location_id}", "{view}"):
            if self.manifest is None and part not in self.pattern:
                raise ValueError(f"pattern {self.pattern!r} lacks {part}")
        if len(set(self.views)) < len(self.views):
            raise ValueError("a view is named twice")
        return self
