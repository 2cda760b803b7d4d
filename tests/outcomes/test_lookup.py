"""Outcomes of 2011 areas on areas of 2021 and the other way, in a world with known answers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.outcomes import Outcome, build_outcomes, read_outcome
from streetgauge.outcomes.lookup import onto_areas, read_lookup
from streetgauge.settings import CensusOutcome, TableOutcome

SAME = [f"E010000{n:02d}" for n in range(1, 31)]
# 31 was split into 3; 32 and 33 were merged; 34 and 35 were redrawn into two others.
OLD = [*SAME, *(f"E010000{n}" for n in (31, 32, 33, 34, 35))]
SPLIT = ["E01033801", "E01033802", "E01033803"]
MERGED, REDRAWN = "E01033804", ["E01033805", "E01033806"]
NEW = [*SAME, *SPLIT, MERGED, *REDRAWN]
PAIRS = [
    *((code, "U", code) for code in SAME),
    *(("E01000031", "S", part) for part in SPLIT),
    ("E01000032", "M", MERGED),
    ("E01000033", "M", MERGED),
    ("E01000034", "X", REDRAWN[0]),
    ("E01000034", "X", REDRAWN[1]),
    ("E01000035", "X", REDRAWN[1]),
]


def exact_fit(path: Path, pairs: list[tuple[str, str, str]] = PAIRS, **columns: object) -> Path:
    """A lookup with the columns of the ONS's exact-fit lookup of LSOAs."""
    old, change, new = zip(*pairs, strict=True)
    frame = pd.DataFrame(
        {
            "LSOA11CD": old,
            "LSOA11NM": [f"Town {code}" for code in old],
            "CHGIND": change,
            "LSOA21CD": new,
            "LSOA21NM": [f"Town {code}" for code in new],
            "LAD22CD": "E06000001",
            "LAD22NM": "Town",
            **columns,
        }
    )
    frame.sample(frac=1, random_state=2).to_csv(path, index=False, encoding="utf-8-sig")
    return path


def table(path: Path, codes: list[str], values: object, column: str = "code") -> TableOutcome:
    frame = pd.DataFrame({column: codes, "value": values, "decile": np.arange(len(codes)) % 10 + 1})
    frame.sample(frac=1, random_state=3).to_csv(path, index=False)
    return TableOutcome.model_validate(
        {
            "source": "table",
            "file": path,
            "area": column,
            "value": "value",
            "decile": "decile",
            "direction": "higher-is-better",
        }
    )


def test_a_part_has_the_whole_s_value_and_a_merged_area_the_mean(tmp_path: Path) -> None:
    settings = table(tmp_path / "t.csv", OLD, np.arange(1.0, 36.0))
    lookup = exact_fit(tmp_path / "lookup.csv")
    frame, metadata, skips = build_outcomes({"o": settings}, pd.Index(NEW), lookup=lookup)
    value = frame.set_index("area")["o_value"]
    assert value[SAME].tolist() == list(np.arange(1.0, 31.0))
    assert value[SPLIT].tolist() == [31.0] * 3
    assert value[MERGED] == 32.5
    assert value[REDRAWN].isna().all()
    assert skips["area"].tolist() == REDRAWN
    reason = "o: it was redrawn irregularly, by the lookup lookup.csv"
    assert skips["reason"].tolist() == [reason] * 2
    about = metadata["o"]
    assert about["areas"] == about["vintage"] == "LSOA 2011"
    assert (about["n_areas"], about["n_missing"], about["outside"]) == (34, 2, 0)
    assert len(about["lookup"].pop("sha256")) == 64
    assert about["lookup"] == {
        "file": "lookup.csv",
        "from": "LSOA 2011",
        "to": "LSOA 2021",
        "unchanged": 30,
        "split": 3,
        "merged": 1,
        "irregular": 2,
        "absent": 0,
        "weights": "equal weights",
    }


def test_the_same_lookup_goes_the_other_way(tmp_path: Path) -> None:
    settings = table(tmp_path / "t.csv", NEW, np.arange(1.0, 37.0))
    lookup = exact_fit(tmp_path / "lookup.csv")
    frame, metadata, _ = build_outcomes({"o": settings}, pd.Index(OLD), lookup=lookup)
    value = frame.set_index("area")["o_value"]
    # The whole is the mean of its parts, and the merged area's value goes to both.
    assert value["E01000031"] == 32.0
    assert value["E01000032"] == value["E01000033"] == 34.0
    assert value[["E01000034", "E01000035"]].isna().all()
    about = metadata["o"]["lookup"]
    assert (about["from"], about["to"]) == ("LSOA 2021", "LSOA 2011")
    assert (about["split"], about["merged"], about["irregular"]) == (2, 1, 2)


def test_census_counts_are_added_before_the_share_is_made(tmp_path: Path) -> None:
    bad, everyone = np.arange(35) + 1, np.full(35, 100)
    bad[31:33], everyone[31:33] = (10, 90), (100, 300)  # 32 and 33, which were merged
    counts = pd.DataFrame(
        {
            "mnemonic": OLD,
            "All categories: General health": everyone,
            "Bad health": bad,
            "Very bad health": 0,
        }
    )
    counts.to_csv(tmp_path / "qs302ew.csv", index=False)
    settings = CensusOutcome(
        source="census", files=(tmp_path / "qs302ew.csv",), measure="bad-health"
    )
    lookup = exact_fit(tmp_path / "lookup.csv")
    frame, metadata, _ = build_outcomes({"o": settings}, pd.Index(NEW), lookup=lookup)
    assert frame.set_index("area")["o_value"][MERGED] == (10 + 90) / (100 + 300)
    assert metadata["o"]["lookup"]["weights"] == "the outcome's own denominators"


def test_people_in_the_lookup_weigh_merged_areas_and_make_irregular_ones_possible(
    tmp_path: Path,
) -> None:
    people = [*[1] * 33, 300, 100, 50, 50, 150]
    lookup = exact_fit(tmp_path / "lookup.csv", population=people)
    settings = table(tmp_path / "t.csv", OLD, np.arange(1.0, 36.0))
    frame, metadata, skips = build_outcomes({"o": settings}, pd.Index(NEW), lookup=lookup)
    value = frame.set_index("area")["o_value"]
    assert value[MERGED] == (300 * 32 + 100 * 33) / 400
    assert value[REDRAWN].tolist() == [34.0, (50 * 34 + 150 * 35) / 200]
    assert skips.empty
    assert metadata["o"]["lookup"]["weights"] == "the lookup's numbers of people"


def test_a_published_decile_is_retained_where_all_that_an_area_is_made_of_have_the_same(
    tmp_path: Path,
) -> None:
    settings = table(tmp_path / "t.csv", OLD, np.arange(1.0, 36.0))
    outcome = read_outcome("o", settings)
    assert outcome.published is not None
    lookup = exact_fit(tmp_path / "lookup.csv")
    carried = onto_areas(outcome, pd.Index(NEW), None, lookup)
    assert carried.published is not None
    assert carried.published[SPLIT].tolist() == [outcome.published["E01000031"]] * 3
    assert pd.isna(carried.published[MERGED])  # 2 and 3
    assert carried.published.index.equals(carried.values.index)


def test_a_best_fit_lookup_without_change_indicators_leaves_the_other_parts_out(
    tmp_path: Path,
) -> None:
    best = [(old, new) for old, _, new in PAIRS if new not in (*SPLIT[1:], REDRAWN[1])]
    pd.DataFrame(best, columns=["LSOA11CD", "LSOA21CD"]).to_csv(tmp_path / "b.csv", index=False)
    settings = table(tmp_path / "t.csv", OLD, np.arange(1.0, 36.0))
    frame, metadata, skips = build_outcomes(
        {"o": settings}, pd.Index(NEW), lookup=tmp_path / "b.csv"
    )
    assert frame.set_index("area")["o_value"][SPLIT[0]] == 31.0
    assert skips["area"].tolist() == [*SPLIT[1:], REDRAWN[1]]
    assert skips["reason"].unique().tolist() == ["o: the lookup b.csv has no row for it"]
    assert metadata["o"]["lookup"]["absent"] == 3
    assert metadata["o"]["n_missing"] == 3


def test_an_area_made_of_one_without_a_value_has_none_and_the_reason_is_passed_on(
    tmp_path: Path,
) -> None:
    values = np.arange(1.0, 36.0)
    values[[30, 31]] = np.nan  # 31, which was split, and 32, merged with 33
    settings = table(tmp_path / "t.csv", OLD, values)
    lookup = exact_fit(tmp_path / "lookup.csv")
    _, _, skips = build_outcomes({"o": settings}, pd.Index(NEW), lookup=lookup)
    reasons = skips.set_index("area")["reason"]
    for area, source in ((MERGED, "E01000032"), (SPLIT[1], "E01000031")):
        reason = f"o: {source}, of which it is made, has no value: column 'value' is empty"
        assert reasons[area] == reason


def test_areas_of_another_nation_keep_their_values_and_a_partial_file_of_the_same_year_its_gaps(
    tmp_path: Path,
) -> None:
    codes = [*OLD, "S01006506", "S01006507"]
    settings = table(tmp_path / "t.csv", codes, np.arange(1.0, 38.0))
    lookup = exact_fit(tmp_path / "lookup.csv")
    frame, _, _ = build_outcomes({"o": settings}, pd.Index([*NEW, "S01006506"]), lookup=lookup)
    assert frame.set_index("area")["o_value"]["S01006506"] == 36.0
    settings = table(tmp_path / "partial.csv", NEW[3:], np.arange(33.0))
    _, metadata, skips = build_outcomes({"o": settings}, pd.Index(NEW), lookup=lookup)
    assert skips["area"].tolist() == NEW[:3]
    assert "lookup" not in metadata["o"]


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    settings = table(tmp_path / "t.csv", OLD, np.random.default_rng(1).normal(size=35))
    first = exact_fit(tmp_path / "lookup.csv")
    again = tmp_path / "again.csv"
    pd.read_csv(first, dtype=str)[["LSOA21CD", "CHGIND", "LSOA11CD"]].to_csv(again, index=False)
    frames = []
    for lookup, areas in ((first, NEW), (again, NEW[::-1])):
        frames.append(build_outcomes({"o": settings}, pd.Index(areas), lookup=lookup)[0])
    pd.testing.assert_frame_equal(*frames)


def test_without_a_lookup_a_mismatch_is_refused_with_the_file_to_get_and_the_line_to_write(
    tmp_path: Path,
) -> None:
    settings = table(tmp_path / "t.csv", OLD, np.arange(1.0, 36.0), "LSOA11CD")
    with pytest.raises(InputError) as refused:
        build_outcomes({"o": settings}, pd.Index(NEW))
    sentence = str(refused.value)
    assert "t.csv has the LSOAs of 2011, the study those of 2021" in sentence
    assert "6 of 36 areas, e.g. 'E01033801', are not in it" in sentence
    assert "'LSOA (2011) to LSOA (2021) to Local Authority District (2022) Exact Fit" in sentence
    assert "geoportal.statistics.gov.uk" in sentence
    assert "under [areas] in study.toml: lookup = " in sentence
    settings = table(tmp_path / "t.csv", NEW, np.arange(1.0, 37.0))
    with pytest.raises(InputError, match="has the LSOAs of 2021, the study those of 2011"):
        build_outcomes({"o": settings}, pd.Index(OLD))


def test_areas_that_never_changed_need_no_lookup(tmp_path: Path) -> None:
    settings = table(tmp_path / "t.csv", NEW, np.arange(1.0, 37.0))
    frame, metadata, skips = build_outcomes({"o": settings}, pd.Index(SAME), stated="LSOA11CD")
    assert skips.empty
    assert frame["o_value"].notna().all()
    assert metadata["o"]["areas"] == "LSOA 2021"


def test_gaps_of_a_file_of_the_same_year_are_gaps_and_no_mismatch(tmp_path: Path) -> None:
    settings = table(tmp_path / "t.csv", OLD[5:], np.arange(30.0), "LSOA11CD")
    _, _, skips = build_outcomes({"o": settings}, pd.Index(OLD), stated="LSOA11CD")
    assert skips["area"].tolist() == OLD[:5]
    settings = table(tmp_path / "n.csv", NEW[5:], np.arange(31.0), "LSOA21CD")
    _, _, skips = build_outcomes({"o": settings}, pd.Index(SAME), stated="LSOA21CD")
    assert skips["area"].tolist() == SAME[:5]


def test_data_zones_of_another_year_are_refused_and_not_taken_for_strangers(tmp_path: Path) -> None:
    settings = table(tmp_path / "t.csv", [f"S0100000{n}" for n in range(1, 10)], np.arange(9.0))
    with pytest.raises(InputError, match="has the data zones of 2001, the study those of 2011"):
        build_outcomes({"o": settings}, pd.Index([f"S0100700{n}" for n in range(1, 10)]))


def test_codes_of_two_vintages_in_one_file_are_refused_by_the_lookup(tmp_path: Path) -> None:
    codes = [*SAME, "E01000031", MERGED]
    settings = table(tmp_path / "t.csv", codes, np.arange(32.0))
    with pytest.raises(InputError, match=r"two vintages.*'E01000031' is only in LSOA11CD, '"):
        build_outcomes({"o": settings}, pd.Index(NEW), lookup=exact_fit(tmp_path / "lookup.csv"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("LSOA11CD,LAD22CD\nE01000001,E06000001\n", "no two of its columns hold codes of areas of"),
        ("Postcode,Name\nAB1,x\n", "this is not a lookup: .* its columns are Postcode, Name"),
        (
            "from,to,population\nE01000001,E01033801,-4\n",
            "row 2, column 'population': '-4' is not a n",
        ),
        (
            "from,to,population\nE01000001,E01033801,\n",
            "row 2, column 'population': '' is not a number",
        ),
        ("MSOA11CD,MSOA21CD\nE02000001,E02000001\n", "none of the study's areas: .*'E02000001'"),
    ],
)
def test_a_file_that_is_no_lookup_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    lookup = tmp_path / "lookup.csv"
    lookup.write_text(text)
    settings = table(tmp_path / "t.csv", OLD, np.arange(1.0, 36.0))
    with pytest.raises(InputError, match=reason):
        build_outcomes({"o": settings}, pd.Index(NEW), lookup=lookup)


@pytest.mark.parametrize(
    "header",
    [
        "LSOA11CD,LSOA11NM,CHGIND,LSOA21CD,LSOA21NM,LAD22CD,LAD22NM,LAD22NMW,ObjectId",
        "F_LSOA11CD,LSOA11NM,CHGIND,LSOA21CD,LSOA21NM,LAD22CD,LAD22NM,LAD22NMW,FID",
        "OA11CD,CHNGIND,OA21CD,LAD22CD,LAD22NM,LAD22NMW,ObjectId",
        "MSOA11CD,MSOA11NM,CHGIND,MSOA21CD,MSOA21NM,LAD22CD,LAD22NM,LAD22NMW,ObjectId",
        "LSOA01CD,LSOA01NM,LSOA11CD,LSOA11NM,CHGIND,LAD11CD,LAD11NM,LAD11NMW",
        "DZ2001_Code,DZ2011_Code",
        "lsoa11_code,lsoa21_code,change_code",
        "from,to",
    ],
)
def test_the_columns_of_official_lookups_are_recognised(header: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(f"{header}\n{','.join('X' * len(header.split(',')))}\n")
    lookup = read_lookup(tmp_path / "l.csv")
    assert lookup.codes.shape[1] == 2
    assert lookup.irregular.any() == ("IND" in header or "change" in header)
    assert lookup.people is None


def test_an_area_without_people_adds_nothing_to_the_one_that_it_was_merged_into(
    tmp_path: Path,
) -> None:
    counts = pd.DataFrame(
        {
            "mnemonic": OLD,
            "All categories: General health": [*[100] * 31, 0, *[50] * 3],
            "Bad health": [*range(31), 0, 10, 11, 12],
            "Very bad health": 0,
        }
    )
    counts.to_csv(tmp_path / "qs302ew.csv", index=False)
    settings = CensusOutcome(
        source="census", files=(tmp_path / "qs302ew.csv",), measure="bad-health"
    )
    lookup = exact_fit(tmp_path / "lookup.csv")
    frame, _, _ = build_outcomes({"o": settings}, pd.Index(NEW), lookup=lookup)
    assert math.isclose(frame.set_index("area")["o_value"][MERGED], 0.2)


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(data=st.data())
def test_any_lookup_gives_what_a_plain_loop_over_its_rows_gives(
    data: st.DataObject, tmp_path: Path
) -> None:
    old = [f"E010001{n:02d}" for n in range(12)]
    new = [f"E010340{n:02d}" for n in range(12)]
    rows = data.draw(
        st.lists(st.tuples(st.sampled_from(old), st.sampled_from(new)), min_size=1, unique=True)
    )
    people = data.draw(st.lists(st.integers(0, 9), min_size=12, max_size=12))
    values = pd.Series(np.arange(12) / 8, index=old)
    values[old[data.draw(st.integers(0, 11))]] = np.nan
    weights = pd.Series(people, index=old, dtype=float)
    expected = {}
    for target in new:
        sources = [a for a, b in rows if b == target]
        shared = any(len({b for a, b in rows if a == source}) > 1 for source in sources)
        if not sources or (len(sources) > 1 and shared):
            expected[target] = None
        elif len(sources) == 1:
            expected[target] = values[sources[0]]
        else:
            living = [source for source in sources if weights[source] > 0]
            total = sum(weights[source] for source in living)
            added = sum(weights[source] * values[source] for source in living)
            expected[target] = added / total if total else None
    path = tmp_path / "lookup.csv"
    shuffled = data.draw(st.permutations(rows))
    pd.DataFrame(shuffled, columns=["LSOA11CD", "LSOA21CD"]).to_csv(path, index=False)
    outcome = Outcome("o", "o", values, "higher-is-worse", weights=weights)
    carried = onto_areas(outcome, pd.Index(new), None, path)
    for target, value in expected.items():
        ours = carried.values[target]
        if value is None or np.isnan(value):
            assert np.isnan(ours)
            assert carried.missing[target]
        else:
            assert math.isclose(ours, value, abs_tol=1e-12)
    about = carried.provenance["lookup"]
    kinds = ("unchanged", "split", "merged", "irregular", "absent")
    assert sum(about[kind] for kind in kinds) == 12
