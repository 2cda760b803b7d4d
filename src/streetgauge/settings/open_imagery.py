"""``[imagery]`` from open street imagery: what to look for, and how politely."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Strict,
    model_validator,
)

from streetgauge.settings.base import Positive
from streetgauge.settings.imagery import ImagerySettings, ViewSettings

__all__ = ["ImagerySource", "MapillaryImagery", "OpenImagery", "PanoramaxImagery"]

_NO_TOKEN = (
    "a token does not belong into study.toml; put it into the environment, and name the variable "
    "in 'token_variable'"
)


def _variable(text: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", text) is None:
        raise ValueError(_NO_TOKEN)  # without the text, which may be the token itself
    return text


Variable = Annotated[str, AfterValidator(_variable)]


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is no web address; write https://...")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("it holds more than an address; a token belongs into the environment")
    return text.rstrip("/")


Endpoint = Annotated[str, AfterValidator(_web_address)]


class OpenImagery(ViewSettings):
    """What the sources of open street imagery share.

    Fields that are excluded (from run.json, and from what makes a stage out of date) say how
    images are fetched, not which.
    """

    within: Positive = Field(30.0, le=500, description="metres from the location to the image")
    angle: Annotated[float, Strict(), Field(gt=0, le=180)] = Field(
        35.0, description="degrees by which an image may look past the view's heading"
    )
    panoramas: Literal["prefer", "only", "never"] = Field(
        "prefer", description="cut all views from the nearest panorama, if there is one"
    )
    oldest: date | None = Field(None, description="first day on which an image was taken")
    newest: date | None = Field(None, description="last day on which an image was taken")
    requests_per_second: Annotated[float, Strict(), Field(gt=0, le=100)] = Field(
        4.0, description="at most so many requests a second", exclude=True
    )

    def as_files(self, folder: Path, manifest: Path) -> ImagerySettings:
        """Give the settings that find the images once they are here."""
        shared = {name: getattr(self, name) for name in ViewSettings.model_fields}
        return ImagerySettings(folder=folder, manifest=manifest, **shared)

    @model_validator(mode="before")
    @classmethod
    def _no_token_here(cls, data: Any) -> Any:
        if isinstance(data, dict) and "token" in data:
            raise ValueError(_NO_TOKEN)
        return data

    @model_validator(mode="after")
    def _dates_are_in_order(self) -> Self:
        if self.oldest is not None and self.newest is not None and self.oldest > self.newest:
            raise ValueError(f"oldest = {self.oldest} is after newest = {self.newest}")
        return self


class MapillaryImagery(OpenImagery):
    """``source = "mapillary"``: images of Mapillary's contributors, CC BY-SA 4.0."""

    source: Literal["mapillary"]
    token_variable: Variable = Field(
        "MAPILLARY_TOKEN",
        description="environment variable with your token; with _FILE behind its name, that of "
        "the file that holds it",
        exclude=True,
    )
    endpoint: Endpoint = Field("https://graph.mapillary.com", description="the API's address")


class PanoramaxImagery(OpenImagery):
    """``source = "panoramax"``: images of a Panoramax instance, or of all that are federated."""

    source: Literal["panoramax"]
    token_variable: Variable | None = Field(
        None,
        description="environment variable with your token, for an instance that asks for one",
        exclude=True,
    )
    endpoint: Endpoint = Field(
        "https://api.panoramax.xyz/api", description="the API's address, up to and with /api"
    )


def _files_unless_said(value: object) -> object:
    if isinstance(value, dict) and "source" not in value:
        return {"source": "files", **value}
    return value


ImagerySource = Annotated[
    Annotated[ImagerySettings | MapillaryImagery | PanoramaxImagery, Field(discriminator="source")],
    BeforeValidator(_files_unless_said),
]
