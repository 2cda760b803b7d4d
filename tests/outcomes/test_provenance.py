from __future__ import annotations

from pathlib import Path

import pandas as pd

from streetgauge.outcomes import build_outcomes
from streetgauge.settings import TableOutcome


def test_the_user_s_own_publisher_and_licence_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "rents.csv"
    codes = [f"E{i:08d}" for i in range(20)]
    pd.DataFrame({"code": codes, "rent": range(20)}).to_csv(file, index=False)
    chosen = TableOutcome(
        source="table",
        file=file,
        area="code",
        value="rent",
        direction="higher-is-better",
        publisher="City council",
        licence="CC BY 4.0",
    )
    _, about, _ = build_outcomes({"rent": chosen}, pd.Index(codes))
    assert about["rent"]["publisher"] == "City council"
    assert about["rent"]["licence"] == "CC BY 4.0"
