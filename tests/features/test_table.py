"""Tables of features that exist already, joined by key or by coordinates."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.features import FeatureStore, join_table
from streetgauge.features.table import _earth_centred, _numeric_column
from streetgauge.io.files import sha256_of
from streetgauge.settings import TableFeatures, read_settings


def places(**coordinates: tuple[float, float]) -> pd.DataFrame:
    rows = [(name, lat, lon) for name, (lat, lon) in coordinates.items()]
    return pd.DataFrame(rows, columns=["location_id", "lat", "lon"])


def ids(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"location_id": list(names)})


def by_place(file: Path, **options: Any) -> TableFeatures:
    given = {"columns": ("f",), "lat": "lat", "lon": "lon", "k": 2, **options}
    return TableFeatures(source="table", name="t", file=file, **given)


def by_key(file: Path, **options: Any) -> TableFeatures:
    given = {"columns": ("f", "g"), "location_id": "id", "view": "view", **options}
    return TableFeatures(source="table", name="t", file=file, **given)


def joined(
    how: TableFeatures, locations: pd.DataFrame, tmp_path: Path
) -> tuple[FeatureStore, pd.DataFrame]:
    skips = join_table(how, locations, tmp_path / "out.h5", cache_key="s")
    assert list(skips.columns) == ["location_id", "view", "area", "stage", "reason"]
    return FeatureStore.open(tmp_path / "out.h5"), skips


def written(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


KEYED = """id,view,f,g
007,b,3,4
X,a,5,6
007,a,1,2
X,b,7,8
"""


def test_rows_are_joined_by_location_and_view(tmp_path: Path) -> None:
    how = by_key(written(tmp_path, KEYED))
    store, skips = joined(how, ids("X", "007"), tmp_path)
    assert store.views == ("a", "b")
    assert store.location_ids.tolist() == ["007", "X"]
    assert store.features.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert store.done.all()
    assert skips.empty
    assert store.backbone == "table"
    assert store.attributes["weights_sha256"] == sha256_of(how.file)
    assert json.loads(store.attributes["transform"])["columns"] == ["f", "g"]


@pytest.mark.parametrize("kind", ["zip", "parquet", "bom"])
def test_zips_parquet_and_byte_order_marks_are_read_alike(tmp_path: Path, kind: str) -> None:
    file = written(tmp_path, KEYED)
    frame = pd.read_csv(file, dtype={"id": str})
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
            archive.write(file, "folder/t.csv")
            archive.writestr("__MACOSX/t.csv", "rubbish")
            archive.writestr("README.txt", "rubbish")
        file = tmp_path / "t.zip"
    elif kind == "parquet":
        file = tmp_path / "t.parquet"
        frame.to_parquet(file)
    else:
        file = written(tmp_path, "\ufeff" + KEYED)
    store, _ = joined(by_key(file), ids("X", "007"), tmp_path)
    assert store.features.tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


def test_gaps_and_unknown_locations_are_reported_and_exclude_a_location(tmp_path: Path) -> None:
    file = written(tmp_path, KEYED + "Q,a,1,1\nY,a,1,1\nZ,a,,1\nZ,b,1,1\n")
    store, skips = joined(by_key(file), ids("X", "007", "Y", "Z", "W"), tmp_path)
    assert store.location_ids[store.done].tolist() == ["007", "X"]
    reported = skips[["location_id", "view", "reason"]].values.tolist()
    assert reported == [
        ["Q", "a", "the location of this row is not one of the study's"],
        ["W", None, "the table has no row of this location"],
        ["Y", "b", "the table has no row of this view and all are needed"],
        ["Z", "a", "a row of the table has nothing in column 'f'"],
        ["Z", "a", "the table has no row of this view and all are needed"],
    ]


def test_with_any_a_missing_view_is_zeros_and_the_location_is_used(tmp_path: Path) -> None:
    file = written(tmp_path, KEYED + "Y,a,9,9\n")
    store, skips = joined(by_key(file, require="any"), ids("X", "007", "Y"), tmp_path)
    assert store.done.all()
    assert store.present[2].tolist() == [True, False]
    assert store.features[2].tolist() == [[9, 9], [0, 0]]
    assert skips[["location_id", "view"]].values.tolist() == [["Y", "b"]]


def test_a_location_that_lacks_rows_does_not_shift_those_after_it(tmp_path: Path) -> None:
    names = [f"L{i:03}" for i in range(50)]
    gone = set(names[7:40:5])
    rows = [f"{name},a,{i},0" for i, name in enumerate(names) if name not in gone]
    file = written(tmp_path, "\n".join(["id,view,f,g", *rows[::-1]]) + "\n")
    store, skips = joined(by_key(file), ids(*names), tmp_path)
    assert set(skips["location_id"]) == gone
    for i, name in enumerate(names):
        row = store.rows([name])[0]
        assert (row == -1) == (name in gone)
        if row >= 0:
            assert store.features[row, 0, 0] == i


def test_views_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    rows = "\n".join(f"X,{heading},{heading},0" for heading in (90, 270, 0, 180))
    store, _ = joined(by_key(written(tmp_path, f"id,view,f,g\n{rows}\n")), ids("X"), tmp_path)
    assert store.views == ("0", "90", "180", "270")
    assert store.features[0, :, 0].tolist() == [0, 90, 180, 270]


def test_a_view_that_stands_twice_is_refused_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 5: view 'a' of location '007'.*first in row 3"):
        joined(by_key(written(tmp_path, KEYED + "007,a,1,2\n")), ids("007"), tmp_path)


def test_without_a_view_a_location_takes_its_rows_whatever_their_order(tmp_path: Path) -> None:
    rows = ["X,3,1", "Y,9,9", "X,1,2", "X,1,1"]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        text = "\n".join(["id,f,g", *(rows[i] for i in order)]) + "\n"
        how = by_key(written(tmp_path, text), view=None, k=3, require="any")
        store, skips = joined(how, ids("Y", "X"), tmp_path)
        assert store.features[0].tolist() == [[1, 1], [1, 2], [3, 1]]
        assert store.present.tolist() == [[True] * 3, [True, False, False]]
        assert skips["reason"].tolist() == ["1 row of the table, 3 wanted"]


def test_more_rows_than_k_are_refused_not_cut(tmp_path: Path) -> None:
    how = by_key(written(tmp_path, KEYED), view=None, k=1)
    with pytest.raises(InputError, match="'007' has 2 rows, and k is 1; set k"):
        joined(how, ids("X", "007"), tmp_path)


def test_without_k_a_location_has_as_many_views_as_the_most_rows_and_any_are_enough(
    tmp_path: Path,
) -> None:
    how = by_key(written(tmp_path, "id,f,g\nX,1,2\nY,3,4\nX,5,6\nZ,7,8\nZ,9,9\nZ,9,9\n"), view=None)
    store, skips = joined(how, ids("X", "Y", "W"), tmp_path)
    assert store.views == ("1", "2")  # Z is none of the locations
    assert store.present.tolist() == [[False, False], [True, True], [True, False]]
    assert store.done.tolist() == [False, True, True]
    stored = json.loads(store.attributes["transform"])
    assert (stored["k"], stored["require"]) == (2, "any")
    reasons = skips.set_index("location_id")["reason"]
    assert reasons["Y"] == "1 row of the table, 2 wanted"


def test_without_k_all_views_can_still_be_required(tmp_path: Path) -> None:
    file = written(tmp_path, "id,f,g\nX,1,2\nY,3,4\nX,5,6\n")
    store, _ = joined(by_key(file, view=None, require="all"), ids("X", "Y"), tmp_path)
    assert store.done.tolist() == [True, False]


def test_k_is_four_where_rows_do_not_give_it(tmp_path: Path) -> None:
    assert by_place(tmp_path / "t.csv", k=None).k == 4
    named = by_key(tmp_path / "t.csv")
    assert (named.k, named.require) == (4, "all")


def test_a_location_with_very_many_rows_and_no_k_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "id,f,g\n" + "X,1,2\n" * 65)
    with pytest.raises(InputError, match="'X' has 65 rows, more than 64; name the column"):
        joined(by_key(file, view=None), ids("X"), tmp_path)


def test_of_columns_with_one_name_the_numeric_one_is_taken(tmp_path: Path) -> None:
    for header, row in (("road,f,road", "High Street,2,0.5"), ("road,f,road", "0.5,2,High Street")):
        text = f"id,view,{header}\nX,a,{row}\n"
        how = by_key(written(tmp_path, text), columns=("f", "road"))
        store, _ = joined(how, ids("X"), tmp_path)
        assert store.features[0, 0].tolist() == [2, 0.5]


def test_of_two_numeric_columns_with_one_name_the_last_is_taken(tmp_path: Path) -> None:
    frame = [pa.array(["X"]), pa.array([1.0]), pa.array([2.0]), pa.array(["a"])]
    table = pa.Table.from_arrays(frame, names=["id", "f", "f", "view"])
    pq.write_table(table, tmp_path / "t.parquet")
    how = by_key(tmp_path / "t.parquet", columns=("f",))
    assert joined(how, ids("X"), tmp_path)[0].features.tolist() == [[[2]]]
    csv = written(tmp_path, "id,f,f,view\nX,1,2,a\n")
    assert joined(by_key(csv, columns=("f",)), ids("X"), tmp_path)[0].features.tolist() == [[[2]]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("id,view,f\nX,a,1\n", "there is no column 'g'"),
        (
            "id,view,f,g\nX,a,1,2\nY,a,oops,2\n",
            "row 2: column 'f' holds 'oops', which is not a number",
        ),
        ("id,view,f,g\nX,a,1,2,3,4\nX,b,1,2\n", "cannot be read as a table"),
        ("id,view,f,g\nX,a,1,2\nX,b,1,2,3\n", "cannot be read as a table: .* line 3"),
        ("id,view,f,g\nNOPE,a,1,2\n", "none of its rows belongs to a location"),
        ("id,view,f,g\n", "none of its rows belongs to a location"),
        ("id,view,f,g\nX,a,,2\nY,a,,3\n", "every row lacks a number"),
    ],
)
def test_broken_tables_are_refused_with_their_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        joined(by_key(written(tmp_path, text)), ids("X", "Y"), tmp_path)
    assert not (tmp_path / "out.h5").exists()


def test_a_table_that_is_not_there_or_a_zip_with_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        joined(by_key(tmp_path / "t.csv"), ids("X"), tmp_path)
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.csv", KEYED)
        archive.writestr("b.csv", KEYED)
    with pytest.raises(InputError, match="it holds 2 CSV files"):
        joined(by_key(tmp_path / "t.zip"), ids("X"), tmp_path)
    written(tmp_path, "no zip", "broken.zip")
    with pytest.raises(InputError, match="cannot be read as a table"):
        joined(by_key(tmp_path / "broken.zip"), ids("X"), tmp_path)


METRE = 1 / 111_194.9  # degrees of latitude, on a sphere


def test_a_location_takes_the_nearest_rows_nearest_first(tmp_path: Path) -> None:
    steps = {30: 1, 10: 2, 20: 3, -15: 4, 39: 5, 41: 6}
    rows = "\n".join(f"{51.5 + m * METRE},-0.1,{f}" for m, f in steps.items())
    file = written(tmp_path, f"lat,lon,f\n{rows}\n")
    store, skips = joined(by_place(file, k=5), places(X=(51.5, -0.1)), tmp_path)
    assert store.views == ("1", "2", "3", "4", "5")
    assert store.features[0, :, 0].tolist() == [2, 4, 3, 1, 5]
    assert skips.empty
    how = by_place(file, k=6, require="any")
    store, skips = joined(how, places(X=(51.5, -0.1)), tmp_path)
    assert store.present[0].tolist() == [True] * 5 + [False]
    assert skips["reason"].tolist() == ["5 rows of the table within 40 m, 6 wanted"]


def test_a_location_with_too_few_rows_near_is_excluded(tmp_path: Path) -> None:
    file = written(tmp_path, "lat,lon,f\n51.5,-0.1,1\n51.5,-0.1001,2\n52,0,3\n")
    where = places(near=(51.5, -0.1), lonely=(52, 0), far=(53, 0), unknown=(np.nan, np.nan))
    store, skips = joined(by_place(file), where, tmp_path)
    assert store.location_ids[store.done].tolist() == ["near"]
    assert dict(zip(skips["location_id"], skips["reason"], strict=True)) == {
        "lonely": "1 row of the table within 40 m, 2 needed",
        "far": "no row of the table within 40 m, 2 needed",
        "unknown": "the location has no coordinates",
    }


def test_shuffled_rows_and_locations_give_the_same_bytes_also_with_ties(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    # A coarse lattice with several images a point: most locations see ties at the k-th place.
    n = 400
    frame = pd.DataFrame(
        {
            "lat": 51.5 + rng.integers(0, 9, n) * 10 * METRE,
            "lon": rng.integers(0, 9, n) * 1e-4,
            "f": rng.integers(0, 20, n),
        }
    )
    where = places(**{f"L{i}": (51.5 + i * 5 * METRE, 4e-4) for i in range(18)})
    seen = set()
    for seed in range(4):
        frame.sample(frac=1, random_state=seed).to_parquet(tmp_path / "t.parquet")
        how = by_place(tmp_path / "t.parquet", k=4)
        store, _ = joined(how, where.sample(frac=1, random_state=seed), tmp_path)
        seen.add(store.features.tobytes() + store.done.tobytes())
    assert len(seen) == 1


def test_of_rows_equally_near_the_one_with_the_lower_values_comes_first(tmp_path: Path) -> None:
    text = "lat,lon,f\n51.5,0,9\n51.5,0,1\n51.5,0,5\n"
    store, _ = joined(by_place(written(tmp_path, text)), places(X=(51.5, 0)), tmp_path)
    assert store.features[0, :, 0].tolist() == [1, 5]


def test_rows_without_coordinates_or_features_are_reported(tmp_path: Path) -> None:
    text = "lat,lon,f\n51.5,0,1\n51.5,0,2\n,0,3\n51.5,0,\n51.5,0,inf\n"
    store, skips = joined(by_place(written(tmp_path, text)), places(X=(51.5, 0)), tmp_path)
    assert store.features[0, :, 0].tolist() == [1, 2]
    assert sorted(skips["reason"]) == [
        "a row of the table has infinity in column 'f'",
        "a row of the table has nothing in column 'f'",
        "a row of the table has nothing in column 'lat'",
    ]


def test_coordinates_that_are_no_degrees_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "lat,lon,f\n51.5,0,1\n331000,188000,1\n")
    with pytest.raises(InputError, match=r"row 2: column 'lat' holds 331000, not degrees"):
        joined(by_place(file), places(X=(51.5, 0)), tmp_path)


@settings(max_examples=200, deadline=None)
@given(
    lat=st.floats(-89, 89), lon=st.floats(-180, 180),
    north=st.floats(-500, 500), east=st.floats(-500, 500),
)  # fmt: skip
def test_distances_are_those_of_a_geodesic(
    lat: float, lon: float, north: float, east: float
) -> None:
    geodesic = pytest.importorskip("pyproj").Geod(ellps="WGS84")
    azimuth, length = np.degrees(np.arctan2(east, north)), float(np.hypot(east, north))
    lon2, lat2, _ = geodesic.fwd(lon, lat, azimuth, length)
    ends = _earth_centred(np.array([[lat, lon], [lat2, lon2]]))
    assert abs(np.linalg.norm(ends[0] - ends[1]) - length) < 1e-4 + 1e-6 * length


def test_newport_gives_7928_postcodes_in_85_areas(shared_data: Path, tmp_path: Path) -> None:
    postcodes = pd.read_csv(shared_data / "newport" / "newport_postcodes_lsoa11.csv")
    root = Path(__file__).parents[2]
    how = read_settings(root / "examples" / "newport" / "study.toml").features
    assert isinstance(how, TableFeatures)
    where = postcodes.rename(columns={"Postcode": "location_id", "long": "lon"})
    store, skips = joined(how, where, tmp_path)
    assert store.features.shape == (10_570, 4, 19)
    assert store.done.sum() == 7_928
    areas = where.set_index("location_id")["LSOA11CD"]
    assert areas[store.location_ids[store.done]].nunique() == 85
    # The numeric `road` was taken, not the street's name: shares, whose roots these are, add up.
    np.testing.assert_allclose((store.features[store.done] ** 2).sum(axis=2), 1, atol=1e-3)
    assert len(skips) == 10_570 - 7_928


def test_square_roots_are_taken_where_asked_and_of_a_negative_are_refused(tmp_path: Path) -> None:
    how = by_key(written(tmp_path, KEYED), transform="sqrt")
    store, _ = joined(how, ids("X", "007"), tmp_path)
    expected = np.sqrt(np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.float32))
    np.testing.assert_array_equal(store.features, expected)
    assert json.loads(store.attributes["transform"])["transform"] == "sqrt"
    negative = by_key(written(tmp_path, KEYED.replace("a,1,2", "a,1,-2")), transform="sqrt")
    with pytest.raises(InputError, match="row 3, column 'g': -2 is negative"):
        joined(negative, ids("X"), tmp_path)


@pytest.mark.parametrize("kind", ["csv", "zip", "parquet"])
def test_ids_and_views_are_text_as_they_are(tmp_path: Path, kind: str) -> None:
    names = ["NA", "null", "None", "nan", "N/A", "007", "1e5", "true"]
    rows = [f"{name},NA,{i},1\n{name},None,{i},2\n" for i, name in enumerate(names)]
    file = written(tmp_path, "id,view,f,g\n" + "".join(rows))
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
            archive.write(file, "t.csv")
        file = tmp_path / "t.zip"
    elif kind == "parquet":
        table = [row.split(",") for row in "".join(rows).split()]
        frame = pd.DataFrame(table, columns=["id", "view", "f", "g"])
        file = tmp_path / "t.parquet"
        frame.astype({"f": float, "g": float}).to_parquet(file)
    store, skips = joined(by_key(file), ids(*names), tmp_path)
    assert skips.empty
    assert store.views == ("NA", "None")
    assert store.done.all()
    slots = store.rows(names)
    assert store.features[slots, 0, 0].tolist() == list(range(len(names)))


def test_an_empty_number_is_still_a_gap_where_ids_are_text(tmp_path: Path) -> None:
    file = written(tmp_path, "id,view,f,g\nNA,a,1,NA\nNA,b,1,2\nX,a,1,2\nX,b,3,\n,a,1,2\n")
    store, skips = joined(by_key(file, require="any"), ids("NA", "X"), tmp_path)
    assert store.present.tolist() == [[False, True], [True, False]]
    assert sorted(skips["reason"])[:3] == [
        "a row of the table has nothing in column 'g'",
        "a row of the table has nothing in column 'g'",
        "a row of the table has nothing in column 'id or view'",
    ]


def test_whole_numbers_as_ids_stay_whole_next_to_a_gap(tmp_path: Path) -> None:
    columns = {
        "id": pa.array([7, 8, None], pa.int64()),
        "view": pa.array(["a", "a", "a"]).dictionary_encode(),
        "f": pa.array([1.0, 2.0, 3.0]),
        "g": pa.array([1.0, 2.0, 3.0]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    store, skips = joined(by_key(tmp_path / "t.parquet"), ids("7", "8"), tmp_path)
    assert store.done.all()
    assert len(skips) == 1


def test_a_parquet_table_with_two_columns_of_a_name_gives_each_feature_its_own_values(
    shared_cases: Path, tmp_path: Path
) -> None:
    file = shared_cases / "hostile" / "feature_table_duplicate_column.parquet"
    table = pq.ParquetFile(file).read()
    assert table.column_names == ["id", "view", "f1", "f2", "f3", "f4", "f3"]
    places = sorted(set(table.column(0).to_pylist()))
    names = ("f1", "f4", "f3")
    settings = TableFeatures(
        source="table", name="t", file=file, columns=names, location_id="id", view="view", k=4
    )
    locations = pd.DataFrame({"location_id": places, "area": "A"})
    join_table(settings, locations, tmp_path / "t.h5", cache_key="1")
    store = FeatureStore.open(tmp_path / "t.h5")
    expected = {
        (place, view): values
        for place, view, *values in zip(
            *(table.column(i).to_pylist() for i in (0, 1, 2, 5, 6)), strict=True
        )
    }
    row = store.rows(np.array([places[0]]))[0]
    for number, view in enumerate(store.views):
        assert store.features[row, number].tolist() == expected[places[0], view]


def test_of_two_columns_of_a_name_the_one_with_values_is_meant() -> None:
    frame = pd.DataFrame({0: [1.0, 2.0], 1: [np.nan, np.nan]})
    assert _numeric_column(Path("a.csv"), frame, ["a", "a"], "a").tolist() == [1, 2]
