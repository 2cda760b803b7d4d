"""Files with wrong bytes, of every kind, are a table or one sentence."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.io.tables import forget_sheets, read_header, read_sheets, scan_columns

WORLD = pd.DataFrame(
    {
        "code": [f"E0100{n:04d}" for n in range(30)],
        "Café": [f"Café {n}" for n in range(30)],
        "rank": np.arange(30),
    }
)


def as_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/table.csv", WORLD.to_csv(index=False))


def as_layer(path: Path) -> None:
    points = gpd.GeoSeries.from_xy(np.zeros(30), np.zeros(30), crs=27700)
    gpd.GeoDataFrame(WORLD, geometry=points).to_file(path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "t.csv": lambda path: WORLD.to_csv(path, index=False),
    "t.csv.gz": lambda path: WORLD.to_csv(path, index=False),
    "t.zip": as_zip,
    "t.xlsx": lambda path: WORLD.to_excel(path, index=False),
    "t.parquet": lambda path: WORLD.to_parquet(path, compression=None),
    "t.gpkg": as_layer,
    "t.geojson": as_layer,
}


def broken(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut it off, or change, take out or put in some bytes."""
    at, size = int(rng.integers(len(content))), int(rng.integers(1, 200))
    some = rng.bytes(size)
    ways = (
        content[:at],
        content[:at] + some[: size % 6 + 1] + content[at + size % 6 + 1 :],
        content[:at] + content[at + size :],
        content[:at] + some + content[at:],
    )
    return ways[int(rng.integers(len(ways)))]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.filterwarnings("ignore")  # of GDAL, about fields that it skips
def test_a_damaged_file_is_read_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    path, rng = tmp_path / name, np.random.default_rng(3)
    WRITERS[name](path)
    whole, refused = path.read_bytes(), list[str]()
    reads: list[Callable[[], object]] = [lambda: read_sheets(path)]
    if name not in ("t.gpkg", "t.geojson", "t.xlsx"):
        reads.append(lambda: [*read_header(path), *scan_columns(path, ["code"])])
    for n in range(60):
        path.write_bytes(broken(whole, rng))
        os.utime(path, ns=(n, n))
        for read in reads:
            try:
                read()
            except InputError as error:
                refused.append(str(error))
    forget_sheets()
    assert len(refused) > 5
    assert all(sentence.isprintable() for sentence in refused)


@pytest.mark.parametrize(
    ("name", "written", "damaged"),
    [
        ("t.parquet", b"rank", b"r\xffnk"),
        ("t.parquet", "Café".encode(), b"Caf\xff\xff"),
        ("t.parquet", b"E01000007", b"E0100000\xff"),
        ("t.gpkg", "Café 7".encode(), b"Caf\xff\xff 7"),
    ],
)
def test_names_and_texts_that_are_no_utf8_are_damage(
    name: str, written: bytes, damaged: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    content = path.read_bytes()
    assert written in content
    path.write_bytes(content.replace(written, damaged))
    if name == "t.parquet":
        with pytest.raises(InputError, match="this Parquet file is damaged"):
            [*read_header(path), *scan_columns(path, ["code"])]
    with pytest.raises(InputError, match=r"damaged|cannot be read"):
        read_sheets(path)


def test_a_workbook_whose_sheet_cannot_be_unpacked_is_refused(tmp_path: Path) -> None:
    WORLD.to_excel(tmp_path / "t.xlsx", index=False)
    whole = (tmp_path / "t.xlsx").read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as book:
        part = book.getinfo("xl/worksheets/sheet1.xml")
    start = part.header_offset + 30 + len(part.filename)
    (tmp_path / "t.xlsx").write_bytes(whole[:start] + b"\xff" * 9 + whole[start + 9 :])
    with pytest.raises(InputError, match="not a workbook that can be read"):
        read_sheets(tmp_path / "t.xlsx")
