"""An official file written otherwise gives the same outcome, for every source."""

from __future__ import annotations

import csv
import gzip
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streetgauge.outcomes import build_outcomes
from streetgauge.settings import (
    CensusOutcome,
    DeprivationOutcome,
    IncomeOutcome,
    OutcomeSettings,
    TableOutcome,
)

N = 20
CODES = [f"E010000{n:02d}" for n in range(1, N + 1)]
NUMBERS = np.random.default_rng(4).permutation(N) + 1
NAME = {"name": [f"Café {n}, north" for n in range(N)]}
COUNTS = {"F1778": 2000, "F1777": NUMBERS, "F1782": NUMBERS[::-1] ** 2}
PREFIX, SUFFIX = "General Health: ", "; measures: Value"
BULK = {
    f"{PREFIX}All categories: General health{SUFFIX}": 2000,
    f"{PREFIX}Bad health{SUFFIX}": NUMBERS[::-1] ** 2,
    f"{PREFIX}Very bad health{SUFFIX}": NUMBERS,
}
RANK, DECILE = "Crime Rank (where 1 is most deprived)", "Crime Decile"
FILES = {
    "infuse": {"GEO_CODE": CODES, "GEO_TYP2": "LSOADZ", **NAME, **COUNTS},
    "nomis": {"date": 2011, "geography": NAME["name"], "geography code": CODES, **BULK},
    "deprivation": {
        "LSOA code (2011)": CODES,
        **NAME,
        RANK: [f"{1000 * n:,}" for n in NUMBERS],
        DECILE: (NUMBERS + 1) // 2,
        f"Income Rank {RANK[11:]}": NUMBERS[::-1],
    },
    "income": {
        "Code": CODES,
        **NAME,
        "Mean 2012/13": [f"£{30_000 + 1000 * n:,}" for n in NUMBERS],
        "Median 2012/13": [f"£{20_000 + 1000 * n:,}" for n in NUMBERS],
    },
    "table": {"code": CODES, **NAME, "rent": NUMBERS / 7, "other": NUMBERS[::-1]},
}


def entry(source: str, path: Path) -> OutcomeSettings:
    if source in ("infuse", "nomis"):
        return CensusOutcome(source="census", files=(path,), measure="bad-health")
    if source == "deprivation":
        return DeprivationOutcome(
            source="deprivation", file=path, domain="crime", deciles="published"
        )
    if source == "income":
        return IncomeOutcome(source="income", file=path, statistic="median")
    return TableOutcome(
        source="table", file=path, area="code", value="rent", direction="higher-is-worse"
    )


def built(source: str, path: Path) -> pd.DataFrame:
    return build_outcomes({"o": entry(source, path)}, pd.Index(CODES))[0]


@pytest.mark.parametrize("source", FILES)
@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25
)
@given(
    seed=st.integers(0, 2**16),
    delimiter=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"]),
    packing=st.sampled_from(["plain", "gz", "zip"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_rows_columns_encoding_line_ends_quotes_and_packing_change_no_outcome(
    source: str,
    seed: int,
    delimiter: str,
    end: str,
    encoding: str,
    packing: str,
    quoting: int,
    tmp_path: Path,
) -> None:
    frame = pd.DataFrame(FILES[source])
    plain, path = tmp_path / "plain.csv", tmp_path / "written"
    frame.to_csv(plain, index=False)
    shuffled = frame.sample(frac=1, random_state=seed)
    shuffled = shuffled.sample(frac=1, axis="columns", random_state=seed)
    text = io.StringIO()
    shuffled.to_csv(text, index=False, sep=delimiter, lineterminator=end, quoting=quoting)
    content = text.getvalue().encode(encoding)
    if packing == "zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("folder/Data.csv", content)
        content = packed.getvalue()
    path.write_bytes(gzip.compress(content) if packing == "gz" else content)
    os.utime(path, ns=(seed, seed))
    pd.testing.assert_frame_equal(built(source, path), built(source, plain))


@pytest.mark.parametrize("source", FILES)
def test_the_outcome_that_is_the_same_is_the_right_one(source: str, tmp_path: Path) -> None:
    pd.DataFrame(FILES[source]).to_csv(tmp_path / "t.csv", index=False)
    value = built(source, tmp_path / "t.csv").set_index("area")["o_value"]
    expected = {
        "infuse": (NUMBERS + NUMBERS[::-1] ** 2) / 2000,
        "nomis": (NUMBERS + NUMBERS[::-1] ** 2) / 2000,
        "deprivation": 1000.0 * NUMBERS,
        "income": 20_000.0 + 1000 * NUMBERS,
        "table": NUMBERS / 7,
    }[source]
    assert value[CODES].tolist() == pytest.approx(expected.tolist())
