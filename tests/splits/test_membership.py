"""Splits are stored, joined by key and used again; what does not fit is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.settings import FoldSettings
from streetgauge.splits import (
    LocationColumns,
    Split,
    areas_in_two_parts,
    folds_frame,
    make_splits,
    read_splits,
    split_locations,
    split_notes,
    splits_frame,
    stored_folds,
    unassigned,
)
from streetgauge.splits.blocks import column_by_location, to_metres

N = 60
AREAS = np.array([f"E{i // 3:02d}" for i in range(N)], object)
IDS = np.array([f"P{i:02d}" for i in np.random.default_rng(0).permutation(N)], object)
DECILES = np.array([[i // 3 % 10 + 1.0] for i in range(N)])
PLACES = np.column_stack([np.arange(N) * 100.0, np.zeros(N)])


def split(**settings: object) -> list[Split]:
    return make_splits(
        FoldSettings(**settings),
        AREAS,
        DECILES,
        seed=1,
        columns=LocationColumns(location_ids=IDS, coordinates=PLACES, outcomes=["income"]),
    )


def test_stored_splits_are_the_splits_again_whatever_the_order_of_the_rows() -> None:
    splits = split(k=4, buffer=150.0)
    frame = splits_frame(splits, IDS, AREAS)
    assert list(frame.columns) == ["location_id", "area", "split", "fold", "part", "reason"]
    assert len(frame) == 5 * N
    order = np.random.default_rng(2).permutation(N)
    again = read_splits(frame.sample(frac=1, random_state=3), IDS[order], AREAS[order])
    assert {one.name for one in again} == {one.name for one in splits}
    for one in splits:
        other = next(other for other in again if other.name == one.name)
        assert one.fold == other.fold
        for part in ("training", "validation", "test"):
            assert set(IDS[getattr(one, part)]) == set(IDS[order][getattr(other, part)])
        assert {why: set(IDS[rows]) for why, rows in one.excluded.items()} == {
            why: set(IDS[order][rows]) for why, rows in other.excluded.items()
        }


def test_the_table_survives_parquet(tmp_path: Path) -> None:
    splits = split(k=3)
    splits_frame(splits, IDS, AREAS).to_parquet(tmp_path / "splits.parquet")
    again = read_splits(pd.read_parquet(tmp_path / "splits.parquet"), IDS, AREAS)
    for one, other in zip(splits, again, strict=True):
        np.testing.assert_array_equal(one.training, other.training)


def test_folds_are_numbered_and_0_where_never_tested() -> None:
    frame = folds_frame(split(scheme="train-validation-test", test=0.25), IDS, AREAS)
    assert list(frame.columns) == ["location_id", "area", "fold"]
    assert frame["location_id"].is_monotonic_increasing
    assert frame.groupby("area")["fold"].nunique().max() == 1
    assert frame["fold"].value_counts().to_dict() == {0: 45, 1: 15}


def test_what_a_stored_split_lacks_is_excluded_with_a_reason() -> None:
    frame = splits_frame(split(k=3), IDS, AREAS)
    lost = IDS[AREAS == "E05"]
    again = read_splits(frame[~frame["location_id"].isin(lost)], IDS, AREAS)
    for one in again:
        assert set(IDS[one.excluded["the stored split does not have it"]]) == set(lost)
    unused = unassigned(again, IDS, AREAS)
    assert unused["location_id"].tolist() == sorted(lost)
    assert set(unused["area"]) == {"E05"}
    assert set(unused["reason"]) == {"the stored split does not have it"}


def test_only_what_is_in_no_part_of_any_split_is_a_skip() -> None:
    assert unassigned(split(k=3, buffer=150.0), IDS, AREAS).empty  # each is tested once
    one = split(scheme="train-validation-test", buffer=150.0, final=False)
    unused = unassigned(one, IDS, AREAS)
    assert set(unused["reason"]) == {"within 150 m of a tested location"}
    near = one[0].excluded["within 150 m of a tested location"]
    assert set(unused["location_id"]) == set(IDS[near])


def test_areas_in_two_parts_are_found_and_reported() -> None:
    whole, leaking = split(k=3), split(k=3, unit="location")
    assert areas_in_two_parts(whole, AREAS) == []
    assert areas_in_two_parts(leaking, AREAS) == sorted(set(AREAS))
    notes = split_notes(leaking, AREAS, DECILES, ["income"])
    assert "20 areas are in two parts of a split" in notes[0]
    assert not any("two parts" in note for note in split_notes(whole, AREAS, DECILES, ["income"]))


def test_classes_that_a_network_never_sees_are_reported() -> None:
    splits = split(scheme="train-validation-test", final=False)
    unseen = sorted(set(DECILES[:, 0]) - set(DECILES[splits[0].training, 0]))
    deciles = DECILES.copy()
    deciles[splits[0].test] = 11
    notes = split_notes(splits, AREAS, deciles, ["income"])
    assert any(
        f"train is trained on no area of decile {11}" in n or "more like" in n for n in notes
    )
    assert len(unseen) < 10


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="fold"), "no column 'fold'"),
        (lambda f: f.assign(part="tset"), "no part 'tset'; parts are training, validation, test"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "appears more than once; keep one of the rows"),
        (lambda f: f.assign(location_id="X" + f["location_id"]), "none of their locations is one"),
    ],
)
def test_stored_splits_that_cannot_be_used_are_refused(
    change: Callable[[pd.DataFrame], pd.DataFrame], says: str
) -> None:
    frame = splits_frame(split(k=3), IDS, AREAS)
    with pytest.raises(InputError, match=says):
        read_splits(change(frame), IDS, AREAS)


def test_stored_splits_of_other_areas_are_refused() -> None:
    frame = splits_frame(split(k=3), IDS, AREAS)
    wider = np.array([f"M{i // 12}" for i in range(N)], object)
    with pytest.raises(InputError, match="area 'M0': the stored splits have it in two parts"):
        read_splits(frame, IDS, wider)


# --- from a study's tables ------------------------------------------------------------------------

LOCATIONS = pd.DataFrame(
    {
        "location_id": IDS,
        "area": AREAS,
        "lat": 51.5 + np.arange(N) * 0.001,
        "lon": np.full(N, -0.1),
        "msoa": [f"M{i // 6}" for i in range(N)],
    }
)
LABELS = pd.DataFrame({"income": DECILES[:, 0]}, index=IDS)


def areas() -> pd.DataFrame:
    names = sorted(set(AREAS))
    return pd.DataFrame(
        {"district": [f"D{int(name[1:]) // 5}" for name in names], "name": None}, index=names
    )


def test_columns_of_locations_and_of_areas_can_be_split_by() -> None:
    def tested(**settings: object) -> list[set[str]]:
        made = split_locations(FoldSettings(**settings), LOCATIONS, LABELS, areas, seed=0)
        return [set(AREAS[one.test]) for one in made if len(one.test)]

    by_district = tested(scheme="leave-one-group-out", group="district")
    assert by_district == [{f"E{i:02d}" for i in range(d * 5, d * 5 + 5)} for d in range(4)]
    by_msoa = tested(scheme="leave-one-group-out", group="msoa")
    assert len(by_msoa) == 10
    with pytest.raises(InputError, match="neither locations nor areas have 'distrct'; did you"):
        tested(unit="distrct")


def test_folds_of_another_study_are_used_again(tmp_path: Path) -> None:
    file = tmp_path / "folds.parquet"
    made = split_locations(FoldSettings(k=3), LOCATIONS, LABELS, areas, seed=5)
    folds_frame(made, IDS, AREAS).to_parquet(file)
    again = split_locations(FoldSettings(file=file), LOCATIONS, LABELS, areas, seed=5)
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.test, other.test)
        np.testing.assert_array_equal(one.validation, other.validation)  # the same seed
    splits_frame(made, IDS, AREAS).to_parquet(file)
    again = split_locations(FoldSettings(file=file), LOCATIONS, LABELS, areas, seed=6)
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.validation, other.validation)  # stored


def test_stored_folds_that_split_an_area_are_refused(tmp_path: Path) -> None:
    made = split_locations(FoldSettings(k=3), LOCATIONS, LABELS, areas, seed=5)
    frame = folds_frame(made, IDS, AREAS)
    frame.loc[0, "fold"] = frame.loc[0, "fold"] % 3 + 1
    frame.to_parquet(tmp_path / "folds.parquet")
    settings = FoldSettings(file=tmp_path / "folds.parquet")
    with pytest.raises(InputError, match="the stored folds have it in two folds"):
        split_locations(settings, LOCATIONS, LABELS, areas, seed=5)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folds.parquet").write_text("no")
    settings = FoldSettings(file=tmp_path / "folds.parquet")
    with pytest.raises(InputError, match=r"folds.parquet: it cannot be read as Parquet"):
        split_locations(settings, LOCATIONS, LABELS, areas, seed=5)


def test_a_location_that_the_folds_lack_is_trained_on_but_never_tested() -> None:
    frame = pd.DataFrame({"location_id": IDS[3:], "fold": np.arange(N - 3) // 3 % 3 + 1})
    assert (stored_folds(frame, IDS) == 0).sum() == 3


def test_metres_are_metres_give_or_take_a_thousandth() -> None:
    lat = np.array([51.5, 51.5, 51.6, np.nan])
    lon = np.array([-0.1, 0.1, -0.1, 0.0])
    places = to_metres(lat, lon)
    across = np.hypot(*(places[1] - places[0]))
    up = np.hypot(*(places[2] - places[0]))
    assert across == pytest.approx(13_893, rel=1e-3)  # geodesic on WGS 84
    assert up == pytest.approx(11_126, rel=1e-3)
    assert np.isnan(places[3]).all()


def test_a_column_is_looked_up_by_key() -> None:
    found = column_by_location("district", LOCATIONS.sample(frac=1, random_state=1), areas())
    expected = LOCATIONS.sample(frac=1, random_state=1)["area"].str[1:].astype(int) // 5
    assert found.tolist() == [f"D{i}" for i in expected]
    with pytest.raises(InputError, match=r"no location's district is known; set 'areas.district'"):
        column_by_location("district", LOCATIONS, areas().assign(district=None))


def test_only_where_something_is_tested_is_it_noted_how_much_is_not() -> None:
    rows, nothing = np.arange(6), np.empty(0, np.int64)
    areas, deciles = np.array(list("aabbcc")), np.array([1.0, 1, 2, 2, 3, 3])[:, None]

    def notes(split: Split) -> str:
        return " ".join(split_notes([split], areas, deciles, ["income"]))

    assert "never tested" not in notes(Split("all", 0, rows, nothing, nothing))
    partly = notes(Split("fold-1", 1, rows[:2], nothing, rows[2:]))
    assert "2 of 6 locations are never tested" in partly
