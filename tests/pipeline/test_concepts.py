"""`streetgauge concepts`: what the images of a study show, made like every other result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from small_worlds import keep_outcomes
from streetgauge.evaluation import concepts as compared
from streetgauge.features import FeatureStore, engines
from streetgauge.imagery import APPEARANCE, appearance_of, read_image
from streetgauge.pipeline.concepts import _alike
from streetgauge.pipeline.gallery import concept_examples
from streetgauge.progress import silent
from streetgauge.study import Study

Run = Callable[..., tuple[int, str, str]]
NAMES = [*APPEARANCE, "brightness"]
MADE = ("concepts.parquet", "area_concepts.parquet", "concepts.json", "concepts/appearance.h5")


def _hashes(study: Path) -> dict[str, str]:
    return {name: hashlib.sha256((study / name).read_bytes()).hexdigest() for name in MADE}


def _page(study: Path) -> str:
    return (study / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow  # needs the demo
def test_concepts_are_made_stopped_resumed_and_shown(
    run: Run, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compared, "FEWEST", 3)  # the demo has three areas at an end
    file = demo / "study.toml"
    text = file.read_text(encoding="utf-8")
    with_images = Study.open(demo)
    file.write_text(text.replace("'page'", "'none'\nimages = false"), encoding="utf-8")
    assert run("report", demo)[0] == 0
    assert 'id="concepts"' not in _page(demo)
    code, _, err = run("concepts", demo)
    assert code == 0, err
    assert "5 concepts of" in err
    undisturbed = _hashes(demo)

    table = pd.read_parquet(demo / "concepts.parquet")
    assert list(table) == ["location_id", "area", "n_images", *NAMES]
    store = FeatureStore.open(demo / "features" / "efficientnet-lite0.h5")
    done = store.location_ids[store.done]
    assert table["location_id"].tolist() == done.tolist()
    one = table.iloc[0]
    assert one["n_images"] == 4
    images = [read_image(demo / f"data/images/{one['location_id']}_{view}.jpg") for view in "abcd"]
    # The images are 256 by 192 pixels, of which the square at the centre is measured.
    squares = np.stack([image[:, 32:224] for image in images])
    measured = appearance_of(squares).mean(axis=0)
    assert one[list(APPEARANCE)].to_numpy(float)[:2] == pytest.approx(measured[:2], abs=0.02)

    areas = pd.read_parquet(demo / "area_concepts.parquet").set_index("area")
    own = table[table["area"] == one["area"]]
    assert areas.loc[one["area"], "n_locations"] == len(own)
    assert areas.loc[one["area"], NAMES].to_numpy(float) == pytest.approx(own[NAMES].mean())

    findings = json.loads((demo / "concepts.json").read_text(encoding="utf-8"))
    assert findings["tests"] == 3 * len(NAMES)
    assert findings["sources"] == {"appearance": NAMES}
    metrics = json.loads((demo / "metrics.json").read_text(encoding="utf-8"))
    for name, each in findings["outcomes"].items():
        rho = metrics["outcomes"][name]["metrics"]["spearman"]["value"]
        assert each["readable"]["images"]["value"] == pytest.approx(rho)

    assert "concepts: up to date" in run("concepts", demo)[2]
    here = one["location_id"]
    examples = {"sky": {"most": [[here, "a"], ["nobody", "a"]], "least": [[here, "b"]]}}
    shots = concept_examples(with_images, {"examples": examples}, silent)
    assert [shot.view for shot in shots["sky"]["most"]] == ["a"]
    assert shots["sky"]["least"][0].licence == "CC0-1.0"

    code, _, err = run("run", demo)  # goes on with what was asked for once, and shows it
    assert code == 0, err
    assert 'id="concepts"' in _page(demo)
    assert "What the images show" in _page(demo)

    whole = engines.AppearanceEngine.__call__
    seen: list[int] = []

    def killed(self: engines.AppearanceEngine, images: np.ndarray) -> np.ndarray:
        seen.append(len(images))
        if sum(seen) > 100:
            raise KeyboardInterrupt
        return whole(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(engines.AppearanceEngine, "__call__", killed)
        assert run("concepts", demo, "--force")[0] != 0
    assert not (demo / "concepts.json").exists()
    half = FeatureStore.open(demo / "concepts" / "appearance.h5")
    assert 0 < half.held.sum() < store.held.sum()
    assert run("concepts", demo)[0] == 0
    assert _hashes(demo) == undisturbed

    for name in MADE[:3]:
        (demo / name).unlink()
    assert run("report", demo)[0] == 0
    assert 'id="concepts"' not in _page(demo)


def test_a_study_without_images_has_no_concepts(grid: Path, refuse: Callable[..., str]) -> None:
    assert "`concepts` are of images" in refuse("concepts", grid)
    text = (grid / "study.toml").read_text(encoding="utf-8")
    (grid / "study.toml").write_text(text + "\n[concepts]\n", encoding="utf-8")
    assert "[concepts] need images" in refuse("run", grid)
    assert not (grid / "concepts.parquet").exists()


@pytest.mark.slow
def test_a_source_that_is_not_known_is_refused_before_anything_is_made(
    demo: Path, refuse: Callable[..., str]
) -> None:
    text = (demo / "study.toml").read_text(encoding="utf-8")
    (demo / "study.toml").write_text(text + '\n[concepts]\nsources = ["apearance"]\n', "utf-8")
    assert "did you mean 'appearance'" in refuse("concepts", demo)
    assert not (demo / "concepts").exists()


@pytest.mark.slow
def test_concepts_of_several_sources_are_those_of_the_one_with_images(city: Path, run: Run) -> None:
    keep_outcomes(city, "income")
    file = city / "study.toml"
    text = file.read_text(encoding="utf-8")
    noise = '[features.noise]\nsource = "simulated"\ndimension = 4\n\n'
    small = "[train]\nensemble_size = 1\nepochs = 3\nwidth = 64\n[report]\nfigures = 'page'\n"
    small += "\n[concepts]\n"
    assert "[features]\n" in text
    text = "".join(row for row in text.splitlines(True) if not row.startswith("oracle"))
    text = text.replace("k = 5", "k = 3\nother_folds = false")
    file.write_text(text.replace("[features]\n", f"{noise}[features.street]\n") + small, "utf-8")
    code, _, err = run("run", city)
    assert code == 0, err
    table = pd.read_parquet(city / "concepts.parquet")
    assert list(table) == ["location_id", "area", "n_images", *NAMES]
    store = FeatureStore.open(city / "features" / "street.h5")
    assert table["location_id"].tolist() == store.location_ids[store.done].tolist()
    assert 'id="concepts"' in _page(city)


def test_check_finds_what_concepts_lack(
    city: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STREETGAUGE_CACHE", str(tmp_path))
    text = (city / "study.toml").read_text(encoding="utf-8")
    own = '\n[concepts]\nsources = ["appearance"]\n'
    (city / "study.toml").write_text(text + own, encoding="utf-8")
    code, _, err = run("check", city)
    assert code == 0, err
    assert "concepts: 5 concepts from appearance" in err
    (city / "study.toml").write_text(text + own.replace("appearance", "places-scenes"), "utf-8")
    code, _, err = run("check", city)
    assert code == 2
    assert "weights of places365-resnet18: there is no file" in err


def test_concepts_that_go_together_are_listed_in_pairs_of_two() -> None:
    sky = np.arange(40.0)
    other = np.random.default_rng(0).permutation(40)
    concepts = pd.DataFrame({"sky": sky, "edges": -sky, "brightness": other, "lake": sky})
    table = pd.DataFrame({"concept": list(concepts), "reported": [True, True, True, False]})
    assert _alike(concepts, table) == [{"concepts": ["sky", "edges"], "spearman": -1.0}]
