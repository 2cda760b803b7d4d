from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from streetgauge.errors import InputError
from streetgauge.io.tables import read_header, scan_columns


def scanned(path: Path, columns: list[str]) -> pd.DataFrame:
    return pa.Table.from_batches(list(scan_columns(path, columns))).to_pandas()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("packed", [False, True])
def test_columns_are_the_same_in_every_encoding(
    end: str, encoding: str, packed: bool, tmp_path: Path
) -> None:
    content = end.join(["id,näme,x", "1,é,a", '2,"b, c",""', ""]).encode(encoding)
    path = tmp_path / "table.csv"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read_header(path) == ["id", "näme", "x"]
    assert scanned(path, ["näme", "id"]).to_dict("list") == {
        "näme": ["é", "b, c"],
        "id": ["1", "2"],
    }
    assert scanned(path, ["x"])["x"].tolist() == ["a", ""]


def test_an_accent_far_down_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"id,name\n" + b"1,a\n" * 100_000 + "2,é\n".encode("latin-1"))
    assert scanned(path, ["name"])["name"].iloc[-1] == "é"


def test_parquet_gives_the_same_text(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pd.DataFrame({"id": ["a", None], "lat": [51.5, None]}).to_parquet(path)
    assert read_header(path) == ["id", "lat"]
    assert scanned(path, ["lat", "id"]).to_dict("list") == {"lat": ["51.5", ""], "id": ["a", ""]}


def test_a_broken_row_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n3\n")
    with pytest.raises(InputError, match="a row is broken"):
        scanned(path, ["a"])


def test_a_broken_row_in_a_zip_is_named_with_the_table_that_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "tables.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("whole.csv", "a,b\n1,2\n")
        archive.writestr("broken.csv", "a,b\n1,2\n3\n")
    assert len(list(scan_columns(path, ["a"], member="whole.csv"))) == 1
    with pytest.raises(InputError) as caught:
        list(scan_columns(path, ["a"], member="broken.csv"))
    assert str(caught.value).startswith(f"{path}: broken.csv: a row is broken: ")


def test_a_cut_off_gzip_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "table.csv.gz"
    content = "a,b\n" + "".join(f"{n},{n * n}\n" for n in range(50_000))
    path.write_bytes(gzip.compress(content.encode())[:-5000])
    with pytest.raises(InputError, match="cannot be unpacked"):
        scanned(path, ["a"])


def test_files_without_a_header_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="there is no header"):
        read_header(tmp_path / "empty.csv")
    with pytest.raises(InputError, match="there is no such file"):
        read_header(tmp_path / "none.csv")
