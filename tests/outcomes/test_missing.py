"""An outcome with missing areas is never passed off as complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from streetgauge.outcomes import build_outcomes
from streetgauge.outcomes.build import describe_missing
from streetgauge.report.text import incomplete
from streetgauge.settings import DeprivationOutcome


def frame(gone: np.ndarray) -> pd.DataFrame:
    known = pd.array(1 + np.arange(200) // 20, dtype="Int64")
    lacking = known.copy()
    lacking[gone] = pd.NA
    return pd.DataFrame({"area": range(200), "a_decile": lacking, "b_decile": known})


def test_missing_areas_that_are_unlike_the_others_are_described_by_another_outcome() -> None:
    unlike = describe_missing(frame(np.arange(160, 200)), ["a", "b"])
    assert unlike == {"a": {"by": "b", "without": 9.5, "having": 4.5}}


def test_missing_areas_that_are_like_the_others_or_few_are_not() -> None:
    random = np.random.default_rng(3).choice(200, 40, replace=False)
    assert describe_missing(frame(random), ["a", "b"]) == {}
    assert describe_missing(frame(np.arange(197, 200)), ["a", "b"]) == {}
    assert describe_missing(frame(np.arange(160, 200)), ["a"]) == {}


@pytest.mark.slow
def test_the_partial_domains_of_2015_are_called_incomplete_and_no_random_sample(
    shared_data: Path,
) -> None:
    income = pd.read_csv(
        shared_data / "london/modelled-household-income-estimates-lsoa.csv", encoding="latin-1"
    )
    of = {
        "health": ("imd2015_domain_ranks_PARTIAL_22264.csv.gz", "health"),
        "overall": ("File_1_ID_2015_Index_of_Multiple_Deprivation.xlsx", "overall"),
    }
    settings = {
        name: DeprivationOutcome.model_validate(
            {"source": "deprivation", "file": shared_data / "london" / file, "domain": domain}
        )
        for name, (file, domain) in of.items()
    }
    _, about, skips = build_outcomes(settings, pd.Index(income["Code"]))
    assert len(skips) == about["health"]["n_missing"] == 1060
    assert about["health"]["index"] == "English Indices of Deprivation 2015"
    unlike = about["health"]["missing_bias"]
    assert unlike["by"] == "overall"
    assert unlike["without"] > 8 > 5 > unlike["having"]
    text = incomplete(about["health"], {"overall": "IMD"}, 10)
    assert text.startswith(
        "This outcome is not complete: 1,060 of 4,835 areas of the study (22%) have no value. "
        "Its figures are of the other 3,775 only. Its file holds 22,264 of the 32,844 areas"
    )
    assert "They are no random sample. By IMD, the mean decile of the areas without" in text
    assert incomplete(about["overall"], {}, 10) == ""
