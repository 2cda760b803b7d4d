"""What the script gets: columns in one order, flags as bits, postcodes packed."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.report import map as module
from streetgauge.report.map import SIGNS, layers, pack_postcodes, packed, payload


def unpack(packed: str | None) -> list[list[str]]:
    """Read as the page's script does."""
    areas = []
    for part in (packed or "").split("|"):
        own, members = "", []
        for letter, rest in re.findall(r"([a-z])([^a-z]*)", part):
            own = own[: ord(letter) - 97] + rest
            members.append(own)
        areas.append(members)
    return areas


@given(
    st.lists(
        st.tuples(
            st.text("ABZ 019", min_size=3, max_size=9), st.sampled_from(["one", "two", "three"])
        ),
        max_size=30,
    )
)
def test_packed_postcodes_are_all_there_area_by_area(rows):
    codes = ["two", "four", "one", "three"]
    locations = pd.DataFrame(rows, columns=["postcode", "area"])
    found = unpack(pack_postcodes(locations, codes))
    for k, code in enumerate(codes):
        kept = {p.replace(" ", "") for p, area in rows if area == code}
        assert (found[k] if k < len(found) else []) == sorted(p for p in kept if len(p) > 2)


def test_postcodes_in_another_order_are_packed_alike():
    rows = pd.DataFrame({"postcode": ["B2 2BB", "A1 1AA", None, "a1 1ab"], "area": list("xyxy")})
    assert pack_postcodes(rows, ["x", "y"]) == pack_postcodes(rows[::-1], ["x", "y"])
    assert pack_postcodes(rows, ["x", "y"]) == "aB22BB|aA11AAeB"


@pytest.mark.parametrize("columns", [["location_id"], ["location_id", "area"]])
def test_without_postcodes_there_are_none(columns):
    assert pack_postcodes(pd.DataFrame({c: ["a"] for c in columns}), ["a"]) is None
    assert pack_postcodes(pd.DataFrame({"postcode": [None], "area": ["a"]}), ["a"]) is None


def with_flags(data):
    table = data.table.copy()
    table["outside_aoa"] = pd.array([a == "A002" for a in table["area"]], dtype="boolean")
    table["error_cluster"] = [
        {"A002": "high", "A003": "low"}.get(a) if o == "crime" else None
        for a, o in zip(table["area"], table["outcome"], strict=True)
    ]
    table["status"] = ["too few locations" if a == "A004" else "measured" for a in table["area"]]
    return table


def test_flags_are_summed_by_outcome(make_study):
    data = make_study()
    data = make_study(table=with_flags(data))
    found = payload(data, {"income": "Income", "crime": "Crime"}, None)
    income, crime = (dict(zip(found["codes"], o["flags"], strict=True)) for o in found["outcomes"])
    assert (income["A002"], income["A003"], income["A004"]) == (1, 0, 8)
    assert (crime["A002"], crime["A003"], crime["A004"]) == (3, 4, 8)
    assert income["A007"] is None  # it has no prediction


def test_what_only_the_first_outcome_has_is_not_lent_to_the_second(make_study):
    data = make_study()
    table = data.table.copy()
    table["disagreement"] = table["decile"].astype(float).where(table["outcome"] == "income")
    found = payload(make_study(table=table), {"income": "Income", "crime": "Crime"}, None)
    first, second = found["outcomes"]
    assert max(x for x in first["disagreement"] if x is not None) == 10
    assert set(second["disagreement"]) == {None}
    assert "n" in first  # the same for both, so written once
    assert "n" not in second


def test_layers_are_those_that_the_table_has_something_for(make_study):
    data = make_study()
    columns = ["area", "outcome", "decile", "low", "high", "actual_decile", "n_locations"]
    plain = data.table[columns]
    assert list(layers(plain, 10)) == [
        *("predicted", "actual", "difference", "uncertainty", "locations")
    ]
    full = with_flags(data).assign(n_views=pd.array([4] * len(plain), dtype="Int64"))
    assert list(layers(full, 10))[-2:] == ["images", "flags"]
    assert "uncertainty" not in layers(plain.assign(low=pd.NA), 10)
    assert layers(plain, 5)["predicted"] == "Predicted class"
    unlabelled = plain.assign(low=pd.NA, actual_decile=pd.NA)
    assert list(layers(unlabelled, 10)) == ["predicted", "locations"]
    assert list(layers(unlabelled.assign(disagreement=0.5), 10)) == [
        *("predicted", "spread", "locations")
    ]


def test_districts_have_an_interval_of_their_mean_and_only_from_areas_held_out(make_study):
    data = make_study()
    data.areas["district"] = [f"District {i % 6}" for i in range(len(data.areas))]
    (found, _) = payload(data, {"income": "Income", "crime": "Crime"}, None)["of_districts"]
    assert set(found["predicted"]) == {f"District {i}" for i in range(6)}
    for low, high, worst in found["predicted"].values():
        assert 1 <= low < high <= 10
        assert 0 <= worst <= 1
    known = replace(data, table=data.table.assign(fold=0))
    assert payload(known, {"income": "Income"}, None)["of_districts"] == [{"predicted": {}}]


def read_numbers(column: dict) -> list[float | None]:
    """Read as the page's script does."""
    signs, text = column["signs"], column["text"]
    codes = []
    for i in range(0, len(text), signs):
        code = 0
        for sign in text[i : i + signs]:
            code = code * len(SIGNS) + SIGNS.index(sign)
        codes.append(code)
    return [(c - 1 + column["least"]) / column["per_unit"] if c else None for c in codes]


@given(
    st.lists(st.none() | st.integers(-9_000_000, 9_000_000), min_size=1, max_size=20),
    st.sampled_from([0, 2, 3]),
)
def test_numbers_that_are_written_as_text_are_read_as_they_were(whole, digits):
    values = [None if each is None else each / 10**digits for each in whole]
    column = module._packed_column(values, digits)
    assert read_numbers(column) == values
    assert not set(column["text"]) & set('"&<>\\')


def test_columns_of_many_areas_are_text_a_sign_a_decile_and_those_of_few_are_lists(
    make_study, monkeypatch
):
    plain = payload(make_study(), {"income": "Income", "crime": "Crime"}, None)
    assert packed(plain) == plain
    monkeypatch.setattr(module, "MANY_AREAS", 10)
    found = packed(plain)
    for own, before in zip(found["outcomes"], plain["outcomes"], strict=True):
        assert own["label"] == before["label"]
        assert len(own["decile"]["text"]) == len(plain["codes"])
        for key in before.keys() - {"name", "label"}:
            assert read_numbers(own[key]) == before[key]
