"""A study of several sources of features, from its settings to what was trained."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from small_worlds import change
from streetgauge.features import FeatureStore
from streetgauge.features.joint import open_features
from streetgauge.io.files import read_table
from streetgauge.model.bundle import Bundle
from streetgauge.study import Study
from streetgauge.study.stages import stage_named

AREAS, LOCATIONS = 40, 3
STREET = """
[features.street]
source = "table"
file = "street.csv"
location_id = "id"
columns = ["a", "b", "c"]
"""
STATISTICS = """
[features.statistics]
source = "table"
file = "statistics.csv"
area = "code"
columns = ["people"]
"""
REST = """
[train]
learner = "ridge"

[folds]
k = 4
other_folds = false

[report]
figures = "none"
"""
TOP = """
name = "Two sources"

[areas]
file = "areas.csv"
code = "code"

[outcomes.income]
source = "table"
file = "areas.csv"
area = "code"
value = "income"
direction = "higher-is-better"

[locations]
source = "table"
file = "locations.csv"
id = "id"
area = "code"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give a study whose two tables each show half of the income; some rows are not there."""
    place = tmp_path / "study"
    place.mkdir()
    rng = np.random.default_rng(4)
    codes = [f"E{i:02d}" for i in range(AREAS)]
    hidden = rng.normal(size=(AREAS, 2))
    area = np.repeat(np.arange(AREAS), LOCATIONS)
    ids = [f"L{i:03d}" for i in range(len(area))]
    tables = {
        "areas": pd.DataFrame({"code": codes, "income": hidden.sum(axis=1)}),
        "locations": pd.DataFrame({"id": ids, "code": np.array(codes)[area]}),
        "street": pd.DataFrame(rng.normal(size=(2 * len(ids), 3)), columns=list("abc")),
        "statistics": pd.DataFrame({"code": codes, "people": hidden[:, 1]}),
    }
    tables["street"].insert(0, "id", np.repeat(ids, 2))
    tables["street"]["a"] += 3 * hidden[np.repeat(area, 2), 0]
    # The first area has no street, the last two no statistics, one location has neither.
    tables["street"] = tables["street"].iloc[2 * LOCATIONS : -2]
    tables["statistics"] = tables["statistics"].iloc[:-2].sample(frac=1, random_state=1)
    for name, table in tables.items():
        table.to_csv(place / f"{name}.csv", index=False)
    (place / "study.toml").write_text(TOP + STREET + STATISTICS + REST, encoding="utf-8")
    return place


def contents(study: Path) -> dict[str, str]:
    """Give the hash of every file that was made, but for logs and the record of the run itself."""
    made = [path for path in study.rglob("*") if path.is_file() and path.suffix != ".csv"]
    return {
        str(path.relative_to(study)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in made
        if "logs" not in path.parts and path.name not in ("run.json", "study.toml")
    }


def test_sources_are_joined_by_key_and_what_is_absent_stays_absent(
    run: Callable[..., tuple[int, str, str]], place: Path
) -> None:
    code, _, err = run("run", place)
    assert code == 0, err
    study = Study.open(place)
    assert {path.name for path in study.stores} == {"statistics.h5", "street.h5"}
    joint = open_features(study)
    assert len(joint.location_ids) == AREAS * LOCATIONS - 1
    assert joint.features.shape[1:] == (3, 3)
    table = pd.read_csv(place / "street.csv")
    people = pd.read_csv(place / "statistics.csv").set_index("code")["people"]
    code_of = pd.read_csv(place / "locations.csv").set_index("id")["code"]
    for row, location in enumerate(joint.location_ids):
        own = table.loc[table["id"] == location, ["a", "b", "c"]].to_numpy(np.float32)
        assert joint.present[row, 1:].all() == (len(own) == 2)
        assert set(map(tuple, own)) <= set(map(tuple, joint.features[row, 1:]))
        there = code_of[location] in people
        assert joint.present[row, 0] == there
        held = joint.features[row, 0]
        expected = [np.float32(people[code_of[location]]) if there else 0, 0, 0]
        np.testing.assert_array_equal(held, np.float32(expected))
    skips = read_table(study.skipped).query("stage == 'features'")
    assert set(skips["reason"].str.partition(":")[0]) == {"statistics", "street"}
    assert len(skips) == LOCATIONS + 1 + 2 * LOCATIONS
    lines = study.record["stages"]["features"]["messages"]
    whole = (AREAS - 3) * LOCATIONS
    assert lines[-1] == f"{AREAS * LOCATIONS - 1} locations with any source, {whole} with all 2"
    predictions = read_table(study.predictions)
    assert len(predictions) == AREAS * LOCATIONS - 1
    assert [*Bundle.load(study.model / "all").sources] == ["statistics", "street"]
    metrics = json.loads(study.metrics.read_text(encoding="utf-8"))
    found = metrics["outcomes"]["income"]["sources"]
    assert found["adds"]["street"]["n_areas"] == AREAS - 1
    assert found["adds"]["statistics"]["n_areas"] == AREAS - 2
    for name in ("street", "statistics"):
        assert found["adds"][name]["spearman"]["low"] > 0
        alone = found["alone"][name]["spearman"]["value"]
        assert found["together"]["spearman"]["value"] > alone + 0.05
    assert set(metrics["outcomes"]["income"]["baselines"]).isdisjoint({"street", "statistics"})
    page = study.report.read_text(encoding="utf-8")
    assert "What each source adds" in page
    assert "statistics in 38" in page


def test_both_sources_together_do_better_than_either(
    run: Callable[..., tuple[int, str, str]], place: Path
) -> None:
    def rho() -> float:
        assert run("run", place)[0] == 0
        found = read_table(place / "predictions.parquet").groupby("area")
        score, actual = found["score"].mean(), found["actual_decile"].first().astype(float)
        return float(score.corr(actual, method="spearman"))

    both = rho()
    text = (place / "study.toml").read_text(encoding="utf-8")
    for removed, left in ((STATISTICS, STREET), (STREET, STATISTICS)):
        named = left.split("]")[0].split(".")[1]
        one = left.replace(f"[features.{named}]", f'[features]\nname = "{named}"')
        changed = text.replace(removed, "").replace(left, one)
        (place / "study.toml").write_text(changed, encoding="utf-8")
        assert both >= rho() + 0.05


def test_the_order_of_sources_in_the_settings_makes_no_difference(
    run: Callable[..., tuple[int, str, str]], place: Path
) -> None:
    assert run("run", place)[0] == 0
    first = contents(place)
    text = TOP + STATISTICS + STREET + REST
    (place / "study.toml").write_text(text, encoding="utf-8")
    study = Study.open(place)
    stages = ("features", "train", "areas")
    assert [study.state(stage_named(name)) for name in stages] == ["up to date"] * 3
    assert run("run", place, "--force")[0] == 0
    second = contents(place)
    assert first == second


def test_a_change_of_one_source_leaves_the_store_of_the_other_as_it_is(
    run: Callable[..., tuple[int, str, str]], place: Path
) -> None:
    assert run("run", place)[0] == 0
    before = FeatureStore.open(place / "features" / "street.h5").attributes["cache_key"]
    table = place / "statistics.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("\nE00,", "\nE00, "), "utf-8")
    assert run("run", place)[0] == 0
    after = FeatureStore.open(place / "features" / "street.h5").attributes["cache_key"]
    assert before == after


def test_a_run_that_is_killed_between_two_sources_ends_with_the_same_bytes(
    run: Callable[..., tuple[int, str, str]], place: Path, tmp_path: Path
) -> None:
    assert run("run", place)[0] == 0
    whole = contents(place)
    for path in [*place.rglob("*")]:
        if path.is_file() and path.suffix not in (".csv", ".toml"):
            path.unlink()
    killing = """
import os, signal, sys
import streetgauge.pipeline.features as features
make, calls = features._make_source, []
def killed(*given):
    calls.append(given)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(*given)
features._make_source = killed
from streetgauge.cli import main
sys.argv = ["streetgauge", "run", "-q", sys.argv[1]]
main()
"""
    done = subprocess.run([sys.executable, "-c", killing, str(place)], check=False)
    assert done.returncode == -9
    assert (place / "features" / "statistics.h5").exists()
    assert not (place / "features" / "street.h5").exists()
    assert run("run", place)[0] == 0
    assert contents(place) == whole


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("[features.statistics]", "[features.street]", ["not TOML", "street"]),
        ("[features.statistics]", "[features.Street]", ["one name, but for capitals"]),
        ("[features.statistics]", "[features.cluster]", ["cannot be called 'cluster'"]),
        ("[features.statistics]", '[features."a b"]', ["features.a b"]),
        (STREET, "\n[features]\nk = 4\n", ["keys of its own besides [features.statistics]"]),
        (STREET, "", ["write [features], not [features.statistics]"]),
        (STATISTICS, STATISTICS + "witin = 3.0", ["features.statistics.witin", "'within'"]),
        (STREET, "\n[features.street]\n", ["[features.street] has no images", "[imagery.street]"]),
        (STREET, STREET + '\n[imagery]\nfolder = "x"\n', ["one source of images", "are none"]),
        (REST, REST + "\n[concepts]\n", ["[concepts] need images, and"]),
        ('learner = "ridge"', "components = 2", ["train.components goes with one source"]),
        ('learner = "ridge"', 'network = "paper-2019"', ["paper-2019", "one source"]),
        (STATISTICS, STATISTICS + 'name = "other"\n', ["its name is 'statistics'"]),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_sentence(
    refuse: Callable[..., str], place: Path, old: str, new: str, parts: list[str]
) -> None:
    change(place, old, new)
    sentence = refuse("check", place)
    for part in parts:
        assert part in sentence


def test_source_dropout_needs_several_sources(refuse: Callable[..., str], place: Path) -> None:
    text = (TOP + STREET + REST).replace("[features.street]", '[features]\nname = "street"')
    text = text.replace("[train]", "[train]\nsource_dropout = 0.2")
    (place / "study.toml").write_text(text, encoding="utf-8")
    assert "source_dropout goes with several sources" in refuse("check", place)


def test_a_source_that_is_absent_everywhere_is_named(
    run: Callable[..., tuple[int, str, str]], place: Path
) -> None:
    table = place / "statistics.csv"
    table.write_text(re.sub(r"\nE", "\nW", table.read_text(encoding="utf-8")), "utf-8")
    for verb in ("check", "run"):
        code, out, err = run(verb, place)
        assert code == 2
        sentence = " ".join((out + err).split())
        assert "none of its rows belongs to a location" in sentence
        assert "compare its column 'code' with the areas of the locations" in sentence


def test_what_needs_one_source_says_so(
    run: Callable[..., tuple[int, str, str]], refuse: Callable[..., str], place: Path
) -> None:
    assert run("run", place)[0] == 0
    for words in (("curves", place), ("export", place, "--features", "parquet", "--out", "x")):
        sentence = refuse(*words)
        assert "it has several sources (statistics, street), and this needs one" in sentence


@pytest.fixture
def elsewhere(run: Callable[..., tuple[int, str, str]], place: Path, tmp_path: Path) -> Path:
    """Give a table of locations in areas; the stores of the study do for those of another city."""
    change(place, 'learner = "ridge"', 'learner = "kernel"\nsource_dropout = 0.2')
    assert run("run", place)[0] == 0
    table = pd.read_csv(place / "locations.csv").rename(columns={"id": "location_id"})
    file = tmp_path / "elsewhere.csv"
    table.rename(columns={"code": "area"}).to_csv(file, index=False)
    return file


def predict(place: Path, elsewhere: Path, out: Path, *names: str) -> list[object]:
    """Give the words that predict another city with some sources."""
    given = [w for n in names for w in ("--features", f"{n}={place / 'features' / f'{n}.h5'}")]
    return ["predict", place, *given, "--locations", elsewhere, "--out", out]


def test_another_city_is_predicted_from_all_sources_or_without_one_that_it_lacks(
    run: Callable[..., tuple[int, str, str]], place: Path, elsewhere: Path, tmp_path: Path
) -> None:
    found = {}
    for names in (("street", "statistics"), ("statistics", "street"), ("street",)):
        out = tmp_path / "-".join(names)
        code, text, err = run(*predict(place, elsewhere, out, *names))
        assert code == 0, err
        absent = "predicted without statistics, which the bundle was trained on too"
        assert (absent in " ".join((text + err).split())) == (len(names) == 1)
        found[names] = read_table(out / "predictions.parquet")
    whole, other, street = found.values()
    pd.testing.assert_frame_equal(whole, other)
    assert len(street) == AREAS * LOCATIONS - 1 - LOCATIONS
    income = pd.read_csv(place / "areas.csv").set_index("code")["income"]

    def rho(frame: pd.DataFrame) -> float:
        return frame.groupby("area")["score"].mean().corr(income, method="spearman")

    assert rho(whole) > rho(street) + 0.05
    assert rho(street) > 0.5


def test_sources_that_a_bundle_cannot_use_are_refused_in_one_sentence(
    run: Callable[..., tuple[int, str, str]],
    refuse: Callable[..., str],
    place: Path,
    elsewhere: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    rest = ["--locations", elsewhere, "--out", out]
    store = place / "features" / "street.h5"
    sentence = refuse("predict", place, "--features", store, *rest)
    assert "it was trained on several sources (statistics, street)" in sentence
    assert "--features statistics=FILE --features street=FILE" in sentence
    sentence = refuse("predict", place, "--features", f"air={store}", *rest)
    assert "no such source" in sentence
    sentence = refuse("predict", place, "--features", f"statistics={store}", *rest)
    assert "it has 3 features a view, and the bundle was trained on 1" in sentence
    # A city whose locations have more rows, so more views, than those of the study.
    table = pd.read_csv(place / "street.csv")
    pd.concat([table, table]).to_csv(place / "street.csv", index=False)
    bundle = tmp_path / "bundle"
    assert run("export", place, "--out", bundle)[0] == 2  # out of date
    shutil.copytree(place / "model" / "all", bundle)
    assert run("run", place)[0] == 0
    table = pd.read_csv(elsewhere)[["location_id"]]
    table.to_csv(elsewhere, index=False)
    words = predict(place, elsewhere, out, "street")
    words[1] = bundle
    assert "source 'street' has views 1, 2, 3, 4 here" in refuse(*words)


def test_a_bundle_that_was_trained_without_source_dropout_needs_all_its_sources(
    run: Callable[..., tuple[int, str, str]], refuse: Callable[..., str], place: Path
) -> None:
    assert run("run", place)[0] == 0
    table = pd.read_csv(place / "locations.csv").rename(columns={"id": "location_id"})
    file = place / "elsewhere.csv"
    table[["location_id"]].to_csv(file, index=False)
    sentence = refuse(*predict(place, file, place.parent / "out", "street"))
    assert "it needs statistics: it was trained without source dropout" in sentence


def test_a_second_year_of_both_sources_is_compared_and_one_of_other_sources_refused(
    place: Path,
    run: Callable[..., tuple[int, str, str]],
    refuse: Callable[..., str],
) -> None:
    second = Path(shutil.copytree(place, place.with_name("second")))
    rng = np.random.default_rng(5)
    street = pd.read_csv(second / "street.csv")
    better = [f"L{i:03d}" for i in range(10 * LOCATIONS, 12 * LOCATIONS)]  # two areas
    street["a"] += 9.0 * street["id"].isin(better) + rng.normal(0, 0.5, len(street))
    street[["a", "b", "c"]] = street[["a", "b", "c"]] * 1.3 + [5.0, -4.0, 2.0]
    street.to_csv(second / "street.csv", index=False)
    assert run("run", place, "-q")[0] == 0
    for stage in ("outcomes", "locations", "features"):
        assert run(stage, second, "-q")[0] == 0
    code, _, err = run("change", place, second)
    assert code == 0, err
    table = pd.read_parquet(place / "change.parquet").set_index("area")
    assert table["change"].nlargest(2).index.sort_values().tolist() == ["E10", "E11"]
    rest = table["change"].drop(["E10", "E11"])
    assert abs(rest.median()) < 0.5  # five times the spread of a was added to all
    assert not (place / "change.png").exists()  # there are no boundaries
    change(second, "[features.statistics]", "[features.people]")
    assert run("features", second, "-q")[0] == 0
    line = refuse("change", place, second)
    assert "its sources of features (people, street) are not those of" in line
    assert "(statistics, street)" in line
