"""Every scheme splits whole areas, evenly, and gives the same keys the same parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from small_worlds import SplitRows
from streetgauge.errors import InputError
from streetgauge.seeds import derive_seed
from streetgauge.settings import FoldSettings
from streetgauge.splits import Split, area_folds, validation_part

BLOCK = 2000.0
SCHEMES: dict[str, dict[str, Any]] = {
    "k-fold": {"k": 3},
    "whole msoas": {"k": 3, "unit": "msoa"},
    "blocks": {"scheme": "blocks", "k": 3, "block": BLOCK},
    "buffered": {"k": 3, "buffer": 300.0},
    "buffered blocks": {"scheme": "blocks", "k": 3, "block": BLOCK, "buffer": 300.0},
    "leave one district out": {"scheme": "leave-one-group-out", "group": "district"},
    "leave one district out, msoas whole": {
        **{"scheme": "leave-one-group-out", "group": "district"},
        **{"unit": "msoa", "buffer": 100.0},
    },
    "train/validation/test": {"scheme": "train-validation-test", "test": 0.3},
    "train/validation/test of msoas": {"scheme": "train-validation-test", "unit": "msoa"},
    "train/test": {"scheme": "train-test"},
    "by class": {"scheme": "by-class", "outcome": "income", "classes": (1, 10)},
    "train only": {"scheme": "train-only"},
    "a share of the areas": {"k": 3, "train_size": 0.4},
    "a share of the locations": {"k": 3, "train_size": 0.4, "train_size_unit": "locations"},
}


@dataclass(frozen=True)
class City(SplitRows):
    ids: np.ndarray
    areas: np.ndarray
    deciles: np.ndarray
    places: np.ndarray
    msoas: np.ndarray
    districts: np.ndarray


def build_city(
    seed: int = 0, side: int = 12, most: int = 20, huge: int = 0, missing: float = 0.0
) -> City:
    """Build a square of areas of 500 m with deciles that neighbours share; rows in any order."""
    rng = np.random.default_rng(seed)
    n = side * side
    sizes = rng.integers(1, most + 1, n)
    sizes[0] += huge
    x, y = np.arange(n) % side, np.arange(n) // side
    latent = np.array([np.sin(x / 3 + i) + np.cos(y / 2) + rng.normal(0, 0.5, n) for i in (0, 2)])
    deciles = (latent.argsort(axis=1).argsort(axis=1) * 10 // n + 1.0).T
    deciles[rng.random(deciles.shape) < missing] = np.nan
    area = rng.permutation(np.repeat(np.arange(n), sizes))
    corner = np.column_stack([x, y])[area] * 500.0
    names = rng.permutation(n)  # neighbours are not beside each other in the alphabet
    return City(
        ids=np.array([f"P{i:05d}" for i in rng.permutation(len(area))], object),
        areas=np.array([f"E{names[i]:03d}" for i in area], object),
        deciles=deciles[area],
        places=corner + rng.uniform(1, 499, corner.shape),
        msoas=np.array([f"M{x[i] // 2}-{y[i] // 2}" for i in area], object),
        districts=np.array([f"D{x[i] // 4}-{y[i] // 6}" for i in area], object),
    )


@st.composite
def cities(draw: st.DrawFn, labelled: bool = False) -> City:
    return build_city(
        seed=draw(st.integers(0, 10_000)),
        side=draw(st.sampled_from([8, 12])),
        most=draw(st.sampled_from([1, 5, 50])),
        huge=draw(st.sampled_from([0, 0, 800])),
        missing=0.0 if labelled else draw(st.sampled_from([0.0, 0.3])),
    )


def parts(split: Split) -> dict[str, np.ndarray]:
    return {"training": split.training, "validation": split.validation, "test": split.test}


@pytest.mark.parametrize("scheme", SCHEMES)
@given(city=cities(labelled=True), seed=st.integers(0, 99))
@examples(deadline=None, max_examples=12)
def test_no_area_is_in_two_parts_and_every_row_is_accounted_for(
    scheme: str, city: City, seed: int
) -> None:
    for split in city.split(seed, **SCHEMES[scheme]):
        whole = split.excluded if SCHEMES[scheme].get("train_size_unit") != "locations" else {}
        keys = [set(city.areas[rows]) for rows in parts(split).values()]
        if "msoa" in str(SCHEMES[scheme]) or "block" in scheme:
            keys = [set(city.msoas[rows]) for rows in parts(split).values()]
        assert sum(map(len, keys)) == len(set.union(*keys))
        everything = [*parts(split).values(), *split.excluded.values()]
        counted = np.concatenate(everything)
        assert len(counted) == len(set(counted.tolist())) == len(city.areas)
        assert all((np.diff(rows) > 0).all() for rows in everything)
        for why, rows in whole.items():  # a buffer cuts through areas, a share does not
            if "share" in why:
                assert not set(city.areas[rows]) & set.union(*keys)


@pytest.mark.parametrize("scheme", [*SCHEMES, "locations"])
@given(city=cities(labelled=True), seed=st.integers(0, 99))
@examples(deadline=None, max_examples=6)
def test_the_order_of_the_rows_plays_no_part(scheme: str, city: City, seed: int) -> None:
    settings = SCHEMES.get(scheme, {"k": 3, "unit": "location"})
    order = np.random.default_rng(seed).permutation(len(city.areas))
    shuffled = city.take(order)
    for one, other in zip(
        city.split(seed, **settings), shuffled.split(seed, **settings), strict=True
    ):
        assert (one.name, one.fold, one.label) == (other.name, other.fold, other.label)
        for name, rows in parts(one).items():
            assert set(city.ids[rows]) == set(shuffled.ids[parts(other)[name]])
        assert {why: set(city.ids[rows]) for why, rows in one.excluded.items()} == {
            why: set(shuffled.ids[rows]) for why, rows in other.excluded.items()
        }


def test_another_seed_gives_other_blocks() -> None:
    city = build_city()
    once, again, other = (city.split(seed, **SCHEMES["blocks"]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once[0].test, again[0].test)
    np.testing.assert_array_equal(once[0].validation, again[0].validation)
    assert set(once[0].test) != set(other[0].test)
    assert set(once[0].validation) != set(other[0].validation)


# --- each scheme ----------------------------------------------------------------------------------


def test_k_fold_is_area_folds_and_a_validation_part_of_what_each_leaves() -> None:
    city = build_city(missing=0.2)
    fold = area_folds(city.areas, city.deciles, 5, 7)
    splits = city.split(7)
    assert [split.name for split in splits] == [*(f"fold-{i}" for i in range(1, 6)), "all"]
    assert [split.fold for split in splits] == [1, 2, 3, 4, 5, 0]
    for split in splits:
        pool = np.flatnonzero(fold != split.fold)
        seed = derive_seed(derive_seed(7, split.name), "validation")
        held = validation_part(city.areas[pool], city.deciles[pool], 0.15, seed)
        np.testing.assert_array_equal(split.training, pool[~held])
        np.testing.assert_array_equal(split.validation, pool[held])
        np.testing.assert_array_equal(split.test, np.flatnonzero((fold == split.fold) & (fold > 0)))


@given(cities(), st.integers(0, 99), st.sampled_from(["whole msoas", "blocks"]))
@examples(deadline=None, max_examples=30)
def test_folds_of_blocks_differ_by_at_most_the_largest_block(
    city: City, seed: int, scheme: str
) -> None:
    splits = city.split(seed, **SCHEMES[scheme], final=False)
    sizes = [len(split.test) for split in splits]
    corner = (city.places // BLOCK).astype(int)
    unit = city.msoas
    if scheme == "blocks":
        unit = np.array([f"{x} {y}" for x, y in corner])
    largest = np.unique(unit, return_counts=True)[1].max()
    assert sum(sizes) == len(city.ids)
    assert max(sizes) - min(sizes) <= largest
    for split in splits:
        pool = len(split.training) + len(split.validation)
        assert abs(len(split.validation) - 0.15 * pool) <= largest


def test_an_area_lies_in_the_block_of_its_mean_position() -> None:
    city = build_city(side=8)  # areas of 500 m fit blocks of 1,000 m exactly
    for split in city.split(scheme="blocks", k=4, block=1000.0, final=False):
        tested = {tuple(cell) for cell in city.places[split.test] // 1000}
        others = np.concatenate([split.training, split.validation])
        assert not tested & {tuple(cell) for cell in city.places[others] // 1000}


@pytest.mark.parametrize("scheme", ["whole msoas", "blocks"])
def test_folds_of_blocks_have_more_even_deciles_than_at_random(scheme: str) -> None:
    uneven = {"dealt": 0.0, "chance": 0.0}
    for seed in range(10):
        city = build_city(seed, side=24)
        part = np.zeros(len(city.ids), int)
        for split in city.split(seed, **SCHEMES[scheme], final=False):
            part[split.test] = split.fold - 1
        unit = city.msoas
        if scheme == "blocks":
            unit = np.array([f"{x} {y}" for x, y in (city.places // BLOCK).astype(int)])
        code = np.unique(unit, return_inverse=True)[1]
        chance = np.random.default_rng(seed).permutation(code.max() + 1)[code] % 3
        for name, fold in {"dealt": part, "chance": chance}.items():
            for column in city.deciles.T:
                for decile in range(1, 11):
                    count = np.bincount(fold[column == decile], minlength=3)
                    uneven[name] += count.std() / count.mean()
    assert uneven["dealt"] < 0.6 * uneven["chance"]


@pytest.mark.parametrize("scheme", ["buffered", "buffered blocks"])
@given(cities(), st.integers(0, 99), st.sampled_from([50.0, 300.0, 600.0]))
@examples(deadline=None, max_examples=12)
def test_the_buffer_holds_in_metres_and_leaves_out_no_more(
    scheme: str, city: City, seed: int, metres: float
) -> None:
    reason = f"within {metres:,g} m of a tested location"
    try:
        splits = city.split(seed, **SCHEMES[scheme] | {"buffer": metres, "final": False})
    except InputError:
        assert metres > 300
        return
    for split in splits:
        learned = np.concatenate([split.training, split.validation])

        def nearest(rows: np.ndarray, tested: np.ndarray = city.places[split.test]) -> np.ndarray:
            away = city.places[rows][:, np.newaxis] - tested
            return np.sqrt((away**2).sum(axis=2)).min(axis=1)

        assert nearest(learned[:300]).min() > metres
        assert nearest(split.excluded.get(reason, split.test)[:300]).max() <= metres


def test_one_district_after_the_other_is_tested_whole() -> None:
    city = build_city()
    splits = city.split(**SCHEMES["leave one district out"])
    names = sorted(set(city.districts))
    assert [split.label for split in splits] == [*names, ""]
    assert [split.name for split in splits] == [
        *(f"fold-{i}" for i in range(1, len(names) + 1)),
        "all",
    ]
    for split, name in zip(splits, names, strict=False):
        assert set(split.test) == set(np.flatnonzero(city.districts == name))
        assert not split.excluded


def test_a_location_of_no_known_district_is_in_no_fold() -> None:
    city = build_city()
    districts = city.districts.copy()
    districts[city.districts == "D0-0"] = None
    splits = replace(city, districts=districts).split(
        scheme="leave-one-group-out", group="district", final=False
    )
    assert len(splits) == len(set(city.districts)) - 1
    for split in splits:
        unknown = split.excluded["its district is not known"]
        assert set(city.districts[unknown]) == {"D0-0"}


def test_units_that_a_group_cuts_through_are_excluded_where_it_is_tested() -> None:
    city = build_city()
    # The border runs through the second column of MSOAs.
    districts = np.where(city.places[:, 0] // 500 < 3, "west", "east").astype(object)
    splits = replace(city, districts=districts).split(
        scheme="leave-one-group-out", group="district", unit="msoa", final=False
    )
    for split in splits:
        torn = split.excluded["its msoa is tested"]
        assert {msoa.split("-")[0] for msoa in city.msoas[torn]} == {"M1"}
        assert not set(torn) & {*split.training, *split.validation}


@given(cities(), st.floats(0.1, 0.5), st.integers(0, 99))
@examples(deadline=None, max_examples=30)
def test_shares_are_of_the_areas_and_even_over_deciles(city: City, share: float, seed: int) -> None:
    (split,) = city.split(seed, scheme="train-validation-test", test=share, final=False)
    n = len(set(city.areas))
    tested = len(set(city.areas[split.test]))
    assert tested == max(round(share * n), 1)
    stopping = len(set(city.areas[split.validation]))
    assert stopping == max(round(0.15 * (n - tested)), 1)


@pytest.mark.parametrize(("test", "validation"), [(0.4, 0.3), (0.15, 0.45)])
def test_shares_of_larger_units_are_of_the_locations_give_or_take_the_largest(
    test: float, validation: float
) -> None:
    city = build_city(side=24)
    (split,) = city.split(
        scheme="train-validation-test", unit="msoa", test=test, validation=validation, final=False
    )
    largest = np.unique(city.msoas, return_counts=True)[1].max()
    assert abs(len(split.test) - test * len(city.ids)) <= largest
    others = len(city.ids) - len(split.test)
    assert abs(len(split.validation) - validation * others) <= largest
    (alone,) = city.split(scheme="train-only", validation=validation)
    areas = len(set(city.areas))
    assert len(set(city.areas[alone.validation])) == round(validation * areas)


def test_an_outcome_with_labels_on_one_side_only_is_refused_whichever_it_is() -> None:
    city = build_city()
    said = set()
    for area in sorted(set(city.areas))[:40]:
        deciles = city.deciles.copy()
        deciles[city.areas != area, 1] = np.nan  # health is known in one area
        with pytest.raises(InputError, match="outcome 'health': no area of the ") as caught:
            replace(city, deciles=deciles).split(scheme="train-only")
        said.add(str(caught.value).split(" part")[0].split()[-1])
    assert said == {"training", "validation"}


def test_with_a_model_of_elsewhere_every_location_is_tested_and_none_trained_on() -> None:
    city = build_city()
    (split,) = city.split(scheme="test-only")
    assert sorted(split.test) == list(range(len(city.ids)))
    assert len(split.training) == len(split.validation) == 0


def test_locations_alone_are_split_evenly_within_every_area() -> None:
    city = build_city(most=40)
    splits = city.split(k=4, unit="location", final=False)
    sizes = [len(split.test) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    for area in set(city.areas):
        counts = [(city.areas[split.test] == area).sum() for split in splits]
        assert max(counts) - min(counts) <= 1


# --- shares for learning curves -------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["areas", "locations"])
@given(cities(labelled=True), st.integers(0, 99))
@examples(deadline=None, max_examples=10)
def test_smaller_shares_lie_in_larger_ones(unit: str, city: City, seed: int) -> None:
    whole = city.split(seed, k=3)
    before = [{name: set() for name in ("training", "validation")} for _ in whole]
    for share in (0.05, 0.1, 0.3, 0.7, 1.0):
        splits = city.split(seed, k=3, train_size=share, train_size_unit=unit)
        for split, full, seen in zip(splits, whole, before, strict=True):
            np.testing.assert_array_equal(split.test, full.test)
            for name in seen:
                rows, every = parts(split)[name], parts(full)[name]
                keys = city.areas if unit == "areas" else city.ids
                now, n = set(keys[rows]), len(set(keys[every]))
                assert len(now) == max(round(share * n), 1)
                assert seen[name] <= now
                assert set(rows) <= set(every)
                if unit == "areas":  # an area that is learned from is learned from whole
                    assert len(rows) == np.isin(city.areas[every], list(now)).sum()
                seen[name] = now


# --- what is refused ------------------------------------------------------------------------------


def one_area(city: City) -> City:
    return replace(city, areas=np.full(len(city.areas), "E000", object))


@pytest.mark.parametrize(
    ("change", "settings", "says"),
    [
        (one_area, {}, "1 area cannot be assigned to 5 folds; add areas"),
        (one_area, {"scheme": "train-validation-test"}, "1 area cannot be split"),
        (
            one_area,
            {"scheme": "train-only"},
            "all: 1 area is left to train on, and a training and",
        ),
        (None, {"k": 200}, "144 areas cannot be assigned to 200 folds"),
        (
            None,
            {"scheme": "blocks", "block": 1e5},
            "the locations lie in 1 100,000 m blocks, too few for 5 folds; use fewer folds or sm",
        ),
        (None, {"k": 40, "unit": "msoa"}, "36 msoas, too few for 40 folds"),
        (None, {"buffer": 1e4}, "fold-1: nothing is left to train on farther than 10,000 m from"),
        (
            lambda c: replace(c, districts=np.full(len(c.ids), "D", object)),
            {"scheme": "leave-one-group-out", "group": "district"},
            r"there is only one district \('D'\), so none to train on",
        ),
        (
            lambda c: replace(c, districts=np.full(len(c.ids), None, object)),
            {"scheme": "leave-one-group-out", "group": "district"},
            "there is no district at all",
        ),
        (
            lambda c: replace(c, districts=np.array([f"D{i % 2}" for i in range(len(c.ids))])),
            {"scheme": "leave-one-group-out", "group": "district"},
            "area 'E0..': it lies in district 'D0' and in 'D1'",
        ),
        (lambda c: replace(c, places=None), {"buffer": 9.0}, "have no coordinates; add columns"),
        (
            lambda c: replace(c, places=np.where(c.areas[:, None] == "E007", np.nan, c.places)),
            {"buffer": 9.0},
            "area 'E007': none of its locations has coordinates",
        ),
        (lambda c: replace(c, msoas=None), {"unit": "msoa"}, "not known which msoa a location"),
        (
            lambda c: replace(c, districts=None),
            SCHEMES["leave one district out"],
            "not known which",
        ),
        (
            None,
            {"scheme": "by-class", "outcome": "incom", "classes": (1,)},
            "no outcome 'incom'; did you mean 'income'",
        ),
        (
            None,
            {"scheme": "by-class", "outcome": "income", "classes": (1, 12)},
            "no area has class 12 of 'income'",
        ),
        (
            lambda c: replace(c, deciles=np.where([True, False], c.deciles, np.nan)),
            {},
            "outcome 'health': no area of the training part of fold-1 has a label",
        ),
        (
            lambda c: replace(c, ids=np.where(c.ids == "P00003", "P00002", c.ids)),
            {},
            "location 'P00002' appears more than once",
        ),
        (
            lambda c: replace(c, places=c.places[:5]),
            {"buffer": 9.0},
            "coordinates: its length 5 does not fit",
        ),
    ],
)
def test_what_cannot_be_split_is_refused_in_a_sentence(
    change: Any, settings: dict[str, Any], says: str
) -> None:
    city = build_city()
    with pytest.raises(InputError, match=says) as caught:
        (change(city) if change else city).split(**settings)
    assert "\n" not in str(caught.value)


def test_a_single_unit_next_to_the_tested_one_is_refused_or_trained_on_whole() -> None:
    city = build_city()
    districts = np.where(city.places[:, 0] < 3000, "west", "east").astype(object)
    city = replace(city, districts=districts, msoas=districts)
    with pytest.raises(InputError, match=r"fold-1 \(east\): 1 district is left to train on besid"):
        city.split(scheme="leave-one-group-out", group="district", unit="district")
    for split in city.split(scheme="leave-one-group-out", group="district", final=False):
        assert len(split.validation) > 0  # of the areas of the other district


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"scheme": "blocks"}, "needs 'block'"),
        ({"scheme": "leave-one-group-out"}, "needs 'group'"),
        ({"scheme": "by-class", "outcome": "income"}, "needs 'classes'"),
        ({"block": 500.0}, "'block' is not used with scheme = \"k-fold\""),
        ({"scheme": "train-test", "k": 3}, "'k' is not used"),
        ({"unit": "location", "buffer": 10.0}, "splits areas"),
        ({"scheme": "train-only", "buffer": 10.0}, "'buffer' needs"),
        ({"train_size": 0.0}, "greater than 0"),
        ({"block": -1.0, "scheme": "blocks"}, "greater than 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FoldSettings(**settings)


def test_a_location_without_coordinates_is_taken_to_be_amid_its_area() -> None:
    city = build_city(most=20)
    lost = np.flatnonzero(city.areas == city.areas[0])[:1]
    others = np.flatnonzero(city.areas == city.areas[0])[1:]
    places = city.places.copy()
    places[lost] = np.nan
    known = city.places.copy()
    known[lost] = city.places[others].mean(axis=0)
    for one, other in zip(
        replace(city, places=places).split(buffer=250.0, k=3),
        replace(city, places=known).split(buffer=250.0, k=3),
        strict=True,
    ):
        np.testing.assert_array_equal(one.training, other.training)


def test_areas_in_two_units_join_them() -> None:
    city = build_city()
    msoas = city.msoas.copy()
    torn = np.flatnonzero(city.areas == city.areas[0])
    msoas[torn[:1]], msoas[torn[1:]] = "M0-0", "M5-5"
    joined = {"M0-0", "M5-5", city.msoas[torn[0]]} if len(torn) > 1 else set()
    for split in replace(city, msoas=msoas).split(k=3, unit="msoa", final=False):
        tested = set(msoas[split.test])
        assert not tested & {"M0-0", "M5-5"} or {"M0-0", "M5-5"} <= tested
    assert joined
