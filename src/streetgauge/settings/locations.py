"""``[locations]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from streetgauge.settings.base import Settings, Text

__all__ = ["DirectoryLocations", "LocationSettings", "PointLocations", "TableLocations"]


class DirectoryLocations(Settings):
    """``source = "directory"``: an ONS postcode directory, or a table laid out like one."""

    source: Literal["directory"]
    file: Path = Field(description="the directory: CSV, Parquet, or the zip as it is published")
    area: Literal[
        "oa01", "lsoa01", "msoa01", "oa11", "lsoa11", "msoa11", "oa21", "lsoa21", "msoa21"
    ] = Field("lsoa11", description="which of the directory's areas the study's areas are")
    live_only: StrictBool = Field(False, description="leave out terminated postcodes")


class PointLocations(Settings):
    """``source = "points"``: coordinates; the boundaries say which area each lies in."""

    source: Literal["points"]
    file: Path = Field(description="CSV or Parquet, one row a location")
    id: Text = Field(description="column with the location's id")
    lat: Text = Field("lat", description="column with the latitude (or northing, with crs)")
    lon: Text = Field("lon", description="column with the longitude (or easting, with crs)")
    crs: Text = Field("EPSG:4326", description="coordinate system of the two columns")
    postcode: Text | None = Field(None, description="column with the postcode")


class TableLocations(Settings):
    """``source = "table"``: coordinates, and the area that each lies in, as somebody knows it."""

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
