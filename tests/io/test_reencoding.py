"""One table, written in every way that publishers and spreadsheets write it."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.io.tables import as_table, read_header, read_sheets, scan_columns, zipped_tables

WORLD = pd.DataFrame(
    {
        "code": [f"E0100{n:04d}" for n in range(25)],
        "name, with comma": [f"Café {n}; east" for n in range(25)],
        "rank": [f"{n * 1317:,}" for n in range(25)],
        'say "x"': ["", *(f"£{n}" for n in range(24))],
    }
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le"])
PACKINGS = st.sampled_from(["plain", "gz", "zip", "zip among others"])
RELAXED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


def written(
    path: Path,
    frame: pd.DataFrame,
    delimiter: str,
    end: str,
    encoding: str,
    packing: str,
    quote: bool,
) -> Path:
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL
    frame.to_csv(text, index=False, sep=delimiter, lineterminator=end, quoting=quoting)
    content = text.getvalue().encode(encoding)
    if encoding == "utf-16-le":
        content = b"\xff\xfe" + content
    if packing == "gz":
        content = gzip.compress(content)
    if packing.startswith("zip"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("folder/Data_TABLE.csv", content)
            if packing != "zip":
                archive.writestr("Meta_TABLE.csv", content * 3)
                archive.writestr("metadata/notes.txt", "read me " * 10_000)
                archive.writestr("citation.txt", "cite " * 10_000)
                archive.writestr("small.csv", "code\nX\n")
        content = packed.getvalue()
    path.write_bytes(content)
    # Written within one tick of the clock with one size: the content decides all the same.
    os.utime(path, ns=(1, hash(content) % 10**15))
    return path


@RELAXED
@given(
    rows=st.permutations(range(25)),
    columns=st.permutations(list(WORLD.columns)),
    delimiter=st.sampled_from([",", ";", "\t"]),
    end=ENDS,
    encoding=ENCODINGS,
    packing=PACKINGS,
    quote=st.booleans(),
)
def test_order_delimiter_line_ends_encoding_packing_and_quotes_change_nothing(
    rows: list[int],
    columns: list[str],
    delimiter: str,
    end: str,
    encoding: str,
    packing: str,
    quote: bool,
    tmp_path: Path,
) -> None:
    frame = WORLD.iloc[rows][columns]
    path = written(tmp_path / "table", frame, delimiter, end, encoding, packing, quote)
    whole = as_table(read_sheets(path)[0])
    assert list(whole.columns) == columns
    by_code = whole.set_index("code").sort_index()[list(WORLD.columns[1:])]
    assert by_code.to_dict() == WORLD.set_index("code").to_dict()
    assert read_header(path) == columns
    scanned = pa.Table.from_batches(list(scan_columns(path, columns))).to_pandas()
    assert scanned.sort_values("code").to_dict("list") == WORLD[columns].to_dict("list")


def test_what_a_zip_has_is_named_and_a_table_of_it_can_be_chosen(tmp_path: Path) -> None:
    path = written(tmp_path / "t.zip", WORLD, ",", "\n", "utf-8", "zip among others", False)
    assert zipped_tables(path) == ("folder/Data_TABLE.csv", "small.csv")
    assert read_sheets(path, "small.csv")[0].rows == (("code",), ("X",))
    assert len(read_sheets(path)[0].rows) == 26
    assert read_header(path, "small.csv") == ["code"]
    assert len(pa.Table.from_batches(list(scan_columns(path, ["code"], member="small.csv")))) == 1
    with pytest.raises(InputError, match=r"no table 'smal\.csv' in it; did you mean 'small\.csv'"):
        read_sheets(path, "smal.csv")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["t.zip"]


def test_a_workbook_and_a_table_are_no_zip(tmp_path: Path) -> None:
    WORLD.to_csv(tmp_path / "t.csv")
    WORLD.to_excel(tmp_path / "t.xlsx")
    assert zipped_tables(tmp_path / "t.csv") is None
    assert zipped_tables(tmp_path / "t.xlsx") is None


@pytest.mark.parametrize("read", [lambda p: read_sheets(p), lambda p: read_header(p)])
def test_a_zip_without_a_table_or_damaged_is_one_sentence(read, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("image.png", "x")
    with pytest.raises(InputError, match="there is no CSV file in the zip"):
        read(path)
    written(path, WORLD, ",", "\n", "utf-8", "zip", False)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="it cannot be unpacked"):
        read(path)
    # One byte of the packed rows is another: the checksum does not fit.
    path.write_bytes(whole[:150] + bytes([whole[150] ^ 255]) + whole[151:])
    with pytest.raises(InputError, match="it cannot be unpacked"):
        read(path)


def test_commas_in_numbers_and_semicolons_in_headers_do_not_set_cells_apart(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("code;Education, Skills and Training;x\nE1;1,5;2\nE2;2,5;3\n")
    assert as_table(read_sheets(path)[0]).loc[2].tolist() == ["E1", "1,5", "2"]
    path.write_text("code,Health: Bad; measures: Value,Health: Good; measures: Value\nE1,1,5\n")
    assert as_table(read_sheets(path)[0]).loc[2].tolist() == ["E1", "1", "5"]
    assert read_header(path)[0] == "code"


def test_titles_and_notes_do_not_hide_what_sets_cells_apart(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    title = "Estimates, by area, sex, and age\n\nPopulation, all\n\n"
    path.write_text(f"{title}code\tvalue\n" + "".join(f"E{n}\t{n}\n" for n in range(9)))
    assert read_sheets(path)[0].rows[2] == ("code", "value")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
def test_an_accent_after_megabytes_of_plain_text_is_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(("id,name\n" + "1,a\n" * 1_200_000 + "2,é\n").encode(encoding))
    last = list(scan_columns(path, ["name"]))[-1]["name"]
    assert last[-1].as_py() == "é"
    if encoding != "utf-16":
        assert read_sheets(path)[0].rows[-1] == ("2", "é")


def test_random_bytes_are_a_table_or_one_sentence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "t"
    refused = []
    for n in range(150):
        starts = (b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b\x08", b"PAR1", b"\xff\xfe")
        path.write_bytes(starts[n % 6] + rng.bytes(int(rng.integers(0, 600))))
        os.utime(path, ns=(n, n))
        for read in (read_sheets, read_header):
            try:
                read(path)
            except InputError as error:
                refused.append(str(error))
    assert len(refused) > 150
    assert not any("\n" in sentence for sentence in refused)
