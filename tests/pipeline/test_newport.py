"""A real case from files to areas: street segments of Newport and the Welsh index."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "newport" / "study.toml"


@pytest.mark.slow
def test_newport_s_images_tell_its_areas_in_order(
    run: Callable[..., tuple[int, str, str]], shared_data: Path, tmp_path: Path
) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert not re.search(r"\[(folds|train|report)\]", text)
    place = tmp_path / "newport"
    place.mkdir()
    # Two networks of three epochs are enough to see that it learns; the example trains for longer,
    # in spatial folds as well.
    text = text.replace("../../../shared/data", shared_data.as_posix())
    text += "\n[folds]\nfinal = false\nother_folds = false\n"
    text += '[train]\nensemble_size = 2\nepochs = 3\n[report]\nfigures = "none"\n'
    (place / "study.toml").write_text(text, encoding="utf-8")
    code, out, err = run("run", place)
    assert code == 0, err
    # The label, which a narrow table breaks over two lines.
    assert re.search(r"WIMD 2019 (housing|[^\n]*\n\s*housing)", out)
    locations = pd.read_parquet(place / "locations.parquet")
    assert len(locations) == 10_570
    predictions = pd.read_parquet(place / "predictions.parquet")
    used = predictions.drop_duplicates("location_id")
    assert (len(used), used["area"].nunique()) == (7_928, 85)
    skipped = pd.read_parquet(place / "skipped.parquet")
    left_out = set(skipped.loc[skipped["stage"] == "features", "location_id"])
    assert left_out == set(locations["location_id"]) - set(used["location_id"])
    about = json.loads((place / "metrics.json").read_text())["outcomes"]
    assert set(about) == {"wimd_overall", "housing", "income", "environment", "townsend"}
    assert about["housing"]["metrics"]["spearman"]["value"] > 0.5
    assert all(a["metrics"]["spearman"]["value"] > 0.25 for a in about.values())
    assert all("nearest-areas" in a["baselines"] for a in about.values())
