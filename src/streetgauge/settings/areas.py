"""``[areas]`` and ``[locations]``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from streetgauge.settings.base import Settings, Text, rule


class AreaSettings(Settings):
    """``[areas]``: the small areas of the study, with boundaries where the file has them."""

    file: Path | None = Field(
        None,
        description="boundaries (GeoPackage, GeoJSON, GeoParquet, zip of a shapefile), a table, or "
        "a list of codes; if unset, the areas of 'place' as the postcode directory has them",
    )
    code: Text | None = Field(
        None, description="column with the area's code; if unset, the file is a list, one a line"
    )
    name: Text | None = Field(None, description="column with the area's name")
    district: Text | None = Field(None, description="column with the district that it lies in")
    columns: tuple[Text, ...] = Field(
        (), description="further columns, for `folds.unit` and `folds.group`, e.g. the city"
    )
    layer: Text | None = Field(None, description="layer of the boundary file; the first if unset")
    crs: Text | None = Field(
        None,
        description="coordinate system of boundaries that state none, e.g. 'EPSG:27700'",
    )
    lookup: Path | None = Field(
        None,
        description="official lookup between the areas of two years (CSV): carries outcomes of "
        "another year's areas to these",
    )
    include: tuple[Text, ...] = Field((), description="only codes like these, e.g. 'E01*'")
    place: tuple[Text, ...] = Field(
        (),
        description="only areas of these districts, wards, counties, regions or countries: "
        "codes, patterns like 'E09*', or London, West Midlands, Greater Manchester, West Yorkshire",
    )
    bbox: tuple[float, float, float, float] | None = Field(
        None, description="only areas in this box: west, south, east, north in degrees"
    )
    polygon: Path | None = Field(
        None, description="only areas in the polygons of this boundary file"
    )

    @rule
    def _columns_belong_to_a_file(self) -> Iterator[str]:
        given = {key: getattr(self, key) for key in ("code", "name", "district", "layer", "crs")}
        named = [key for key, value in given.items() if value is not None]
        named += ["columns"] if self.columns else []
        if self.file is None and named:
            yield f"'{named[0]}' goes with 'file', and there is none; add it"
        if self.file is not None and self.code is None and named:
            yield f"'{named[0]}' needs 'code', the column with the area's code"

    @rule
    def _further_columns_have_other_names(self) -> Iterator[str]:
        own = ["area", "code", "district", "geometry", "location", "lsoa", "msoa", "name", "oa"]
        for column in self.columns:
            if column in own:
                yield f"a further column cannot be called {column!r}; rename it"

    @rule
    def _areas_are_chosen(self) -> Iterator[str]:
        if not any((self.file, self.place, self.bbox, self.polygon, self.include)):
            yield "give 'file', or 'place' with a postcode directory, e.g. place = [\"London\"]"

    @rule
    def _box_is_one(self) -> Iterator[str]:
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
                yield (
                    f"bbox = {list(self.bbox)} is not a box: "
                    "give west, south, east, north in degrees"
                )


class DirectoryLocations(Settings):
    """``source = "directory"``: an ONS postcode directory, or a table laid out like one."""

    source: Literal["directory"]
    file: Path = Field(description="the directory: CSV, Parquet, or the zip as it is published")
    area: Literal[
        "oa01", "lsoa01", "msoa01", "oa11", "lsoa11", "msoa11", "oa21", "lsoa21", "msoa21"
    ] = Field("lsoa11", description="which of the directory's areas the study's areas are")
    live_only: StrictBool = Field(False, description="exclude terminated postcodes")


class PointLocations(Settings):
    """``source = "points"``: coordinates; the boundaries give the area that each lies in."""

    source: Literal["points"]
    file: Path = Field(description="CSV or Parquet, one row a location")
    id: Text = Field(description="column with the location's id")
    lat: Text = Field("lat", description="column with the latitude (or northing, with crs)")
    lon: Text = Field("lon", description="column with the longitude (or easting, with crs)")
    crs: Text = Field("EPSG:4326", description="coordinate system of the two columns")
    postcode: Text | None = Field(None, description="column with the postcode")


class TableLocations(Settings):
    """``source = "table"``: the area that each location lies in, and coordinates if it has them.

    A table without the columns ``lat`` and ``lon`` can be used; then nothing is done by position.
    """

    source: Literal["table"]
    file: Path = Field(description="CSV or Parquet, one row a location")
    id: Text = Field("location_id", description="column with the location's id")
    area: Text = Field("area", description="column with the code of the area that it lies in")
    lat: Text = Field("lat", description="column with the latitude (or northing, with crs)")
    lon: Text = Field("lon", description="column with the longitude (or easting, with crs)")
    crs: Text = Field("EPSG:4326", description="coordinate system of the two columns")
    postcode: Text | None = Field(None, description="column with the postcode")


LocationSettings = Annotated[
    DirectoryLocations | PointLocations | TableLocations, Field(discriminator="source")
]
