from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from streetgauge.errors import InputError
from streetgauge.outcomes import build_outcomes
from streetgauge.settings import TableOutcome

AREAS = pd.Index([f"A{n:02d}" for n in range(20)])


def outcome(path: Path, text_or_values: object, **more: object) -> TableOutcome:
    if isinstance(text_or_values, str):
        path.write_text(text_or_values)
    else:
        pd.DataFrame({"code": AREAS, "x": text_or_values, "d": 1 + np.arange(20) // 2}).to_csv(
            path, index=False
        )
    return TableOutcome.model_validate(
        {
            "source": "table",
            "file": path,
            "area": "code",
            "value": "x",
            "direction": "higher-is-better",
            "decile": "d",
            **more,
        }
    )


def test_every_area_of_the_study_has_a_row_and_what_is_missing_is_listed(tmp_path: Path) -> None:
    settings = {"wealth": outcome(tmp_path / "a.csv", np.arange(20.0))}
    rows = [f"A{n:02d},{n},1" for n in range(2, 20)]
    text = "\n".join(["code,x,d", "Z99,5,1", ",7,1", "A01,..,1", *rows, ""])
    settings["air"] = outcome(tmp_path / "b.csv", text, label="Air quality")
    frame, metadata, skips = build_outcomes(settings, AREAS)
    assert list(frame.columns) == [
        "area",
        "wealth_value",
        "wealth_decile",
        "air_value",
        "air_decile",
    ]
    assert frame["area"].tolist() == sorted(AREAS)
    assert frame["air_decile"].isna().sum() == 2
    assert skips["area"].tolist() == ["A00", "A01"]
    assert skips["reason"].tolist() == ["air: b.csv has no row for it", "air: the file has '..'"]
    assert (skips["stage"] == "outcomes").all()
    assert list(skips.columns) == ["location_id", "view", "area", "stage", "reason"]
    about = metadata["air"]
    assert (about["label"], about["n_areas"], about["n_missing"], about["outside"]) == (
        "Air quality",
        18,
        2,
        2,
    )
    assert metadata["wealth"]["label"] == "wealth"
    assert len(metadata["wealth"]["sha256"]) == 64
    json.dumps(metadata)


def test_deciles_are_cut_within_the_study_and_not_over_the_whole_file(tmp_path: Path) -> None:
    rows = [f"A{n:02d},{n},1" for n in range(20)] + [f"Z{n:03d},{1000 + n},1" for n in range(500)]
    settings = {"o": outcome(tmp_path / "a.csv", "\n".join(["code,x,d", *rows]))}
    frame, metadata, _ = build_outcomes(settings, AREAS)
    assert frame["o_decile"].value_counts().tolist() == [2] * 10
    assert metadata["o"]["outside"] == 500


def test_published_deciles_are_taken_as_they_are(tmp_path: Path) -> None:
    settings = {"o": outcome(tmp_path / "a.csv", np.roll(np.arange(20.0), 3), deciles="published")}
    frame, metadata, skips = build_outcomes(settings, AREAS)
    assert frame["o_decile"].tolist() == (1 + np.arange(20) // 2).tolist()
    assert metadata["o"]["deciles"] == "published"
    assert skips.empty


def test_a_published_decile_that_is_missing_is_listed(tmp_path: Path) -> None:
    rows = [f"A{n:02d},{n},{1 + n // 2}" for n in range(19)] + ["A19,19,"]
    text = "\n".join(["code,x,d", *rows])
    settings = {"o": outcome(tmp_path / "a.csv", text, deciles="published")}
    _, _, skips = build_outcomes(settings, AREAS)
    assert skips[["area", "reason"]].values.tolist() == [["A19", "o: no published decile"]]


def test_the_order_of_areas_and_rows_changes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=20)
    settings = {"o": outcome(tmp_path / "a.csv", values)}
    expected, _, _ = build_outcomes(settings, AREAS)
    shuffled = pd.read_csv(tmp_path / "a.csv").sample(frac=1, random_state=1)
    settings = {"o": outcome(tmp_path / "b.csv", shuffled.to_csv(index=False))}
    frame, _, _ = build_outcomes(settings, pd.Index(rng.permutation(AREAS.to_numpy())))
    pd.testing.assert_frame_equal(frame, expected)


def test_a_file_of_other_areas_is_refused_with_one_code_of_each(tmp_path: Path) -> None:
    settings = {"o": outcome(tmp_path / "a.csv", np.arange(20.0))}
    with pytest.raises(InputError, match=r"it has 'A00', the study 'E01000001'"):
        build_outcomes(settings, pd.Index(["E01000002", "E01000001"]))


@pytest.mark.parametrize("rule", ["study", "published"])
def test_an_outcome_that_is_constant_within_the_study_is_refused_by_name(
    rule: str, tmp_path: Path
) -> None:
    rows = [f"A{n:02d},4,3" for n in range(20)] + ["Z00,5,9"]
    settings = {"flat": outcome(tmp_path / "a.csv", "\n".join(["code,x,d", *rows]), deciles=rule)}
    with pytest.raises(InputError, match="outcome 'flat': it is constant"):
        build_outcomes(settings, AREAS)
