"""``[features]``, with its ``[features.cluster]``, and ``[concepts]``: what is made of images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict, field_validator

from streetgauge.settings.base import (
    Device,
    HubAddress,
    Name,
    Positive,
    Settings,
    Text,
    default_source,
    rule,
)

_Count = Annotated[int, Strict(), Field(ge=1)]


class ClusterSettings(Settings):
    """``[features.cluster]``: a Ray cluster computes the features, not this machine alone."""

    address: Text = Field(
        "auto",
        description="the cluster's head as host:port; auto is the cluster that this machine is in, "
        "local a cluster of this machine alone",
    )
    actors: _Count | None = Field(
        None,
        description="copies of the network; if unset one a GPU, without GPUs one a machine, which "
        "then uses all its cores",
    )
    decoders: _Count | None = Field(
        None,
        description="cores that decode images; if unset all where there are GPUs, else a quarter",
    )

    @field_validator("address")
    @classmethod
    def _can_be_connected_to(cls, address: str) -> str:
        host, _, port = address.rpartition(":")
        if address.startswith("ray://"):
            raise ValueError(
                f"{address!r} is an address of Ray Client, over which Ray Data does not work: "
                "run streetgauge on a machine of the cluster, with address = 'auto'"
            )
        if address not in ("auto", "local") and not (host and port.isdecimal()):
            raise ValueError(f"{address!r} is not an address: write host:port, 'auto' or 'local'")
        return address


def _by_name(value: object) -> object:
    if isinstance(value, str) and value != "ray":
        raise ValueError(f"{value!r} is not allowed: write cluster = 'ray', or [features.cluster]")
    return {} if value == "ray" else value


# cluster = "ray" is all that is needed where nothing else is set.
Cluster = Annotated[ClusterSettings | None, BeforeValidator(_by_name)]


Dtype = Annotated[
    Literal["float32", "float16"],
    Field(description="how features are stored; float16 takes half the space and has 3 digits"),
]


class ImageFeatures(Settings):
    """``source = "images"``: features of every image by a frozen pretrained network."""

    source: Literal["images"] = "images"
    backbone: Text = Field(
        "efficientnet-lite0",
        description="the frozen network: a name, timm:NAME, open_clip:NAME/WEIGHTS, onnx:FILE",
    )
    weights: Path | None = Field(
        None, description="own weights for that network (safetensors); the published ones if unset"
    )
    relu: Annotated[bool, Strict()] | None = Field(
        None, description="of fc6: cut off negative features; if unset, as in the backbone's name"
    )
    device: Device = "auto"
    engine: Literal["auto", "torch", "openvino", "onnxruntime"] = Field(
        "auto", description="what computes the network; auto tries what is installed"
    )
    precision: Literal["float32", "bfloat16", "int8"] = Field(
        "float32", description="what it is computed in; float32 is the same everywhere, nearly"
    )
    batch: Annotated[int, Strict(), Field(ge=1)] | None = Field(
        None, description="images at a time; what suits the engine if unset"
    )
    dtype: Dtype = "float32"
    cluster: Cluster = Field(
        None,
        exclude=True,
        description='a Ray cluster that does the work: "ray", or its keys as below; if unset this '
        "machine does it",
    )

    @property
    def store(self) -> str:
        """Name of the feature store's file, without its suffix."""
        if self.backbone == "onnx" and self.weights is not None:
            return f"onnx-{self.weights.stem}"
        name = self.backbone.replace(":", "-").replace("/", "-")
        return f"{name}-relu" if self.relu and not name.endswith("-relu") else name

    @classmethod
    def _prepare(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Split ``onnx:FILE``: a file among the settings starts at the study's directory."""
        backbone = str(given.get("backbone", ""))
        if given.get("weights") is None and backbone.startswith("onnx:"):
            file = backbone.removeprefix("onnx:")
            return {**given, "backbone": "onnx", "weights": file}
        return given

    @rule
    def _weights_of_onnx_are_in_its_file(self) -> Iterator[str]:
        if self.backbone.startswith("onnx:"):
            yield "an ONNX file contains its own weights: remove 'weights'"


class TableFeatures(Settings):
    """``source = "table"``: features that exist already, one row an image.

    With ``location_id`` (and ``view``) rows are joined to locations by key; with ``area`` all
    locations of an area take its rows; with ``lat`` and ``lon`` a location takes the ``k`` nearest
    images within ``within`` metres.
    """

    source: Literal["table"]
    name: Name = Field(description="how the store is called")
    file: Path = Field(description="CSV, Parquet, or a zip with one CSV")
    columns: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        description="the features; of columns with one name the last is taken as it is numeric"
    )
    transform: Literal["none", "sqrt"] = Field(
        "none", description="sqrt suits shares of a whole, of which many are near 0 (Hellinger)"
    )
    location_id: Text | None = Field(None, description="column with the location's id, to join by")
    area: Text | None = Field(
        None, description="column with the area's code, where a row is of a whole area"
    )
    view: Text | None = Field(None, description="column with the view's name; row order if unset")
    lat: Text | None = Field(None, description="column with the image's latitude")
    lon: Text | None = Field(None, description="column with the image's longitude")
    k: _Count | None = Field(
        None,
        description="views of a location; if unset 4 or, joined by location_id or area alone, as "
        "many as the one with the most rows has",
    )
    within: Positive = Field(40.0, description="metres")
    require: Literal["all", "any"] | None = Field(
        None,
        description="use a location only with k views, or with any; if unset all or, where k "
        "follows from the rows, any",
    )
    dtype: Dtype = "float32"

    @property
    def store(self) -> str:
        """Name of the feature store's file, without its suffix."""
        return self.name

    @classmethod
    def _prepare(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Set the number of views where rows alone do not give it; see `join_table`."""
        absent = all(given.get(key) is None for key in ("view", "k"))
        by_rows = absent and any(given.get(key) is not None for key in ("location_id", "area"))
        there = {key: value for key, value in given.items() if value is not None}
        return there if by_rows else {"k": 4, "require": "all", **there}

    @rule
    def _one_way_to_join(self) -> Iterator[str]:
        by_key = self.location_id is not None
        by_position = self.lat is not None and self.lon is not None
        if by_key + by_position + (self.area is not None) != 1:
            yield "give either 'location_id' or both 'lat' and 'lon', or 'area'"
        if self.view is not None and not by_key:
            yield "'view' goes with 'location_id'; add it"

    @rule
    def _columns_differ(self) -> Iterator[str]:
        if len(set(self.columns)) < len(self.columns):
            yield "a column is named more than once; name each once"


class RasterFeatures(Settings):
    """``source = "raster"``: bands of a GeoTIFF, as an embedding of satellite images has them."""

    source: Literal["raster"]
    name: Name = Field("raster", description="how the store is called")
    file: Path = Field(description="GeoTIFF, cloud-optimised or not")
    bands: Annotated[tuple[_Count, ...], Field(min_length=1)] | None = Field(
        None, description="which bands are features, the first is 1; all if unset"
    )
    sample: Literal["locations", "areas"] = Field(
        "locations",
        description="the pixel of each location, or the mean over the pixels of its area, which "
        "needs boundaries",
    )
    dtype: Dtype = "float32"

    @property
    def store(self) -> str:
        """Name of the feature store's file, without its suffix."""
        return self.name

    @rule
    def _bands_differ(self) -> Iterator[str]:
        if self.bands is not None and len(set(self.bands)) < len(self.bands):
            yield "a band is named more than once; name each once"


class SimulatedFeatures(Settings):
    """``source = "simulated"``: made up from the outcomes, to find how many images are needed."""

    source: Literal["simulated"]
    name: Name = Field("simulated", description="how the store is called")
    dimension: Annotated[int, Strict(), Field(ge=1)] = Field(512, description="features of a view")
    views: Annotated[int, Strict(), Field(ge=1)] = Field(4, description="views of a location")
    signal: Annotated[float, Strict(), Field(ge=0, le=1)] = Field(
        0.5, description="share of a view's outcome-related variance that is signal, 0 to 1"
    )
    per_area: Annotated[int, Strict(), Field(ge=1)] | None = Field(
        None, description="at most so many locations of an area; all if unset"
    )
    year: Annotated[int, Strict(), Field(ge=1, le=2)] = Field(
        1, description="2: another camera and season, and some areas have changed, see `change`"
    )
    changed: Annotated[float, Strict(), Field(ge=0, le=1)] = Field(
        0.2, description="share of the areas that are two deciles better or worse off in year 2"
    )
    dtype: Dtype = "float32"

    @property
    def store(self) -> str:
        """Name of the feature store's file, without its suffix."""
        return self.name


FeatureSettings = Annotated[
    Annotated[
        ImageFeatures | TableFeatures | RasterFeatures | SimulatedFeatures,
        Field(discriminator="source"),
    ],
    default_source("images"),
]


class ConceptSettings(Settings):
    """``[concepts]``: named, readable features of every image; with it, every run makes them."""

    sources: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        ("appearance",),
        description="where they come from: `appearance` needs no network; `imagenet`, "
        "`places-scenes`, `places-attributes` are what networks were trained on; `segmentation` "
        "and `clip` are set below",
    )
    segmentation: HubAddress | Path | None = Field(
        None,
        description="for `segmentation`: a folder with a model of transformers for semantic "
        "segmentation, or hf://user/name@revision",
    )
    clip: Text = Field(
        "ViT-B-32/openai", description="for `clip`: a model of open_clip and its weights"
    )
    prompts: dict[Name, Annotated[tuple[Text, ...], Field(min_length=1)]] = Field(
        {},
        description="for `clip`: a text for each concept; the first of several texts counts "
        "against the others",
    )

    @rule
    def _sources_are_set(self) -> Iterator[str]:
        for source, key in (("segmentation", "segmentation"), ("clip", "prompts")):
            if (source in self.sources) != bool(getattr(self, key)):
                yield f"{source!r} under 'sources' and the key {key!r} go together; give both"
