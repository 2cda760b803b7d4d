"""Where an outcome comes from is known for every source, and stands in the table and the card."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from streetgauge.io.files import read_metadata, sha256_of, write_table
from streetgauge.outcomes import build_outcomes
from streetgauge.settings import (
    CensusOutcome,
    DeprivationOutcome,
    IncomeOutcome,
    OutcomeSettings,
    TableOutcome,
)

CODES = [f"E010000{n:02d}" for n in range(1, 31)]
TOTAL = "All categories: General health"
KEYS = {
    *("source", "publisher", "licence", "vintage", "areas", "direction", "cells", "file"),
    *("sha256", "files", "columns", "label", "n_areas", "n_missing"),
}


@pytest.fixture
def every_source(tmp_path: Path) -> dict[str, OutcomeSettings]:
    """One outcome of each source, in the layouts of their publishers."""
    numbers = np.arange(1, 31)
    health = pd.DataFrame(
        {
            "geography code": CODES,
            "General Health: All categories: General health; measures: Value": 100,
            "General Health: Bad health; measures: Value": numbers,
            "General Health: Very bad health; measures: Value": 1,
        }
    )
    health.insert(0, "date", 2011)
    health.to_csv(tmp_path / "QS302EW.csv", index=False)
    rank = "Crime Rank (where 1 is most deprived)"
    ranks = pd.DataFrame({"LSOA code (2011)": CODES, rank: numbers})
    ranks.insert(1, "Local Authority District code (2019)", "E06000001")
    ranks.to_csv(tmp_path / "File_2.csv", index=False)
    paid = pd.DataFrame({"Code": CODES, "Mean 2012/13": numbers * 1000})
    paid.to_csv(tmp_path / "income.csv", index=False)
    rents = pd.DataFrame({"LSOA11CD": CODES, "rent": numbers})
    rents.to_csv(tmp_path / "rents.csv", index=False)
    return {
        "census": CensusOutcome(
            source="census", files=(tmp_path / "QS302EW.csv",), measure="bad-health"
        ),
        "deprivation": DeprivationOutcome(
            source="deprivation", file=tmp_path / "File_2.csv", domain="crime"
        ),
        "income": IncomeOutcome(source="income", file=tmp_path / "income.csv"),
        "table": TableOutcome(
            source="table",
            file=tmp_path / "rents.csv",
            area="LSOA11CD",
            value="rent",
            direction="higher-is-better",
            publisher="City council",
            licence="CC BY 4.0",
            vintage="2014",
        ),
    }


def test_every_source_of_the_settings_is_among_these(
    every_source: dict[str, OutcomeSettings],
) -> None:
    union, _ = get_args(OutcomeSettings)
    assert {type(each) for each in every_source.values()} == set(get_args(union))


def test_every_source_says_all_of_where_it_comes_from(
    every_source: dict[str, OutcomeSettings], tmp_path: Path
) -> None:
    frame, metadata, _ = build_outcomes(every_source, pd.Index(CODES))
    write_table(frame, tmp_path / "outcomes.parquet", metadata)
    found = read_metadata(tmp_path / "outcomes.parquet")
    assert found.keys() == every_source.keys()
    for name, about in found.items():
        empty = {key for key in KEYS if about.get(key) in (None, "", [], {})}
        assert not empty, (name, empty)
        assert about["source"] == name
        assert about["areas"] == "LSOA 2011"
        assert len(about["sha256"]) == 64
    cells = {name: about["cells"] for name, about in found.items()}
    assert cells == {
        "census": [f"QS302EW: {c}" for c in ("Bad health", "Very bad health", TOTAL)],
        "deprivation": ["Crime Rank (where 1 is most deprived)"],
        "income": ["Mean 2012/13"],
        "table": ["rent"],
    }
    vintages = {name: about["vintage"] for name, about in found.items()}
    assert vintages["census"] == "2011"
    assert vintages["income"] == "2012/13"
    assert vintages["table"] == "2014"
    assert found["table"]["sha256"] == sha256_of(tmp_path / "rents.csv")
    assert (found["table"]["publisher"], found["table"]["licence"]) == (
        "City council",
        "CC BY 4.0",
    )


def test_the_card_of_a_bundle_shows_it_for_every_outcome(
    every_source: dict[str, OutcomeSettings],
) -> None:
    from streetgauge.model.card import _provenance

    _, metadata, _ = build_outcomes(every_source, pd.Index(CODES))
    for about in metadata.values():
        line = "; ".join(_provenance(about))
        facts = [about["publisher"], about["licence"], about["vintage"], about["areas"]]
        facts += [f"(sha256 {about['sha256']})", about["direction"].replace("-", " ")]
        for text in (*facts, about["file"], *about["cells"]):
            assert text in line, text


@pytest.mark.parametrize("source", ["census", "deprivation", "income", "table"])
def test_a_source_s_own_words_on_publisher_and_licence_give_way_to_the_study_s(
    source: str, every_source: dict[str, OutcomeSettings]
) -> None:
    chosen = every_source[source].model_copy(update={"publisher": "Us", "licence": "CC0"})
    _, about, _ = build_outcomes({"o": chosen}, pd.Index(CODES))
    assert (about["o"]["publisher"], about["o"]["licence"]) == ("Us", "CC0")
