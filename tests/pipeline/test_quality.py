"""Poor images in a study: listed, counted, and excluded where the study asks for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge.features import FeatureStore, extract, get_backbone
from streetgauge.imagery import FINDINGS, QUALITY
from streetgauge.pipeline.quality import filter_quality, reset_quality
from streetgauge.settings import ImagerySettings

Run = Callable[..., tuple[int, str, str]]


class Tiles:
    """A network whose features are means of tiles: cheap, and other for every image."""

    engine, precision, device, cosine, batch = "torch", "float32", "cpu", 1.0, 8

    def __init__(self) -> None:
        self.backbone, self.seen = get_backbone("efficientnet-lite0"), 0

    def features(self, pictures: np.ndarray) -> np.ndarray:
        self.seen += len(pictures)
        tiles = pictures.reshape(len(pictures), -1)[:, : 1280 * 117].reshape(-1, 1280, 117)
        return tiles.mean(axis=2, dtype=np.float32)


def setting(study: Path, line: str) -> None:
    file = study / "study.toml"
    lines = [row for row in file.read_text("utf-8").splitlines() if "exclude" not in row]
    lines.insert(lines.index("[imagery]") + 1, line)
    file.write_text("\n".join(lines) + "\n", "utf-8")


def test_poor_images_are_listed_and_can_be_excluded_and_taken_back(
    city: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Tiles()
    monkeypatch.setattr(extract, "load_network", lambda *_: network)
    study = city
    pictures = next(path.parent for path in study.rglob("*_a.jpg"))
    stems = [path.stem.rpartition("_")[0] for path in pictures.glob("*.jpg")]
    ids = sorted({stem for stem in stems if stems.count(stem) == 4})[3:]  # the sample breaks one
    Image.new("RGB", (256, 256)).save(pictures / f"{ids[0]}_b.jpg")
    (pictures / f"{ids[1]}_a.jpg").write_bytes((pictures / f"{ids[2]}_c.jpg").read_bytes())
    for stage in ("outcomes", "locations", "features"):
        code, _, err = run(stage, study)
        assert code == 0, err
    assert "1 black" in err
    assert "2 duplicate" in err
    assert 'imagery.exclude = ["duplicate", "black"]' in err
    table = pd.read_parquet(study / "quality.parquet").set_index(["location_id", "view"])
    assert table["finding"].loc[ids[0], "b"] == "black"
    assert table["finding"].loc[ids[1], "a"] == table["finding"].loc[ids[2], "c"] == "duplicate"
    assert (table["finding"] != "").sum() == 3
    path = next((study / "features").glob("*.h5"))
    before = FeatureStore.open(path)
    features, done = before.features[:].copy(), before.done[:].copy()
    present = before.present[:].copy()
    assert before.rows(ids[:3]).min() >= 0
    looked = network.seen

    setting(study, 'exclude = ["black", "duplicate"]')
    code, _, err = run("features", study)
    assert code == 0, err
    store = FeatureStore.open(path)
    assert set(store.location_ids[done & ~store.done[:]]) == {ids[0], ids[1], ids[2]}
    skipped = pd.read_parquet(study / "skipped.parquet").query("stage == 'features'")
    skipped = skipped[skipped["location_id"].isin(ids[:3])]
    assert {(r.location_id, r.view): r.reason for r in skipped.itertuples()} == {
        (ids[0], "b"): "the image is black, and all views are needed",
        (ids[1], "a"): "the same image stands elsewhere, and all views are needed",
        (ids[2], "c"): "the same image stands elsewhere, and all views are needed",
    }
    setting(study, "exclude = []")
    code, _, err = run("features", study)
    assert code == 0, err
    store = FeatureStore.open(path)
    np.testing.assert_array_equal(store.features[:], features)
    np.testing.assert_array_equal(store.done[:], done)
    np.testing.assert_array_equal(store.present[:], present)
    assert network.seen == looked  # nothing was looked at again for another choice
    code, out_text, err = run("check", study)
    assert code == 0, err
    assert "2 duplicate" in out_text + err
    assert json.loads((study / "run.json").read_text("utf-8"))["stages"]["features"]["messages"]


def stored(path: Path, fingerprints: list[int], **measured: float) -> Path:
    """Give a store of one view whose images have these fingerprints."""
    about = {"backbone": "b", "weights_sha256": "", "transform": "{}", "cache_key": ""}
    quality = np.zeros((len(fingerprints), 1), dtype=QUALITY)
    quality["fingerprint"][:, 0] = fingerprints
    for name, value in {"brightness": 128, "contrast": 60, "sharpness": 1, **measured}.items():
        quality[name] = value
    slots = np.arange(len(fingerprints))
    with FeatureStore.create(path, [f"L{i:02}" for i in slots], ["a"], 3, about) as store:
        features = np.ones((len(slots), 1, 3), dtype=np.float32)
        store.write(slots, features, np.ones((len(slots), 1), dtype=bool), quality=quality)
    return path


@pytest.mark.parametrize(
    ("copies", "measured", "called"),
    [(2, {}, "duplicate"), (6, {}, "placeholder"), (6, {"brightness": 4, "contrast": 1}, "black")],
)
def test_duplicates_are_excluded_whatever_else_they_are(
    tmp_path: Path, copies: int, measured: dict[str, float], called: str
) -> None:
    path = stored(tmp_path / "s.h5", [0x702] * copies, **measured)
    imagery = ImagerySettings(folder=tmp_path, views=("a",), exclude=("duplicate",))
    lines, skips = filter_quality(path, tmp_path / "q.parquet", imagery)
    assert not FeatureStore.open(path).present.any()
    assert len(skips) == copies
    assert set(skips["reason"]) == {f"{FINDINGS['duplicate']}, and all views are needed"}
    assert lines == (f"of {copies} images {copies} {called} (quality.parquet)",)
    reset_quality(path, "all")
    _, skips = filter_quality(
        path, tmp_path / "q.parquet", imagery.model_copy(update={"exclude": ()})
    )
    assert len(skips) == 0
    assert FeatureStore.open(path).done.all()


def test_fingerprints_of_an_older_version_are_reported_next_to_others(
    tmp_path: Path,
) -> None:
    imagery = ImagerySettings(folder=tmp_path, views=("a",))
    for name, fingerprints, said in (
        ("new", [0x102, 0x202, 0x302], 0),
        ("old", [0x111, 0x202, 0x333], 2),
        ("all", [0x111, 0x222], 0),
    ):
        path = stored(tmp_path / f"{name}.h5", fingerprints)
        lines, _ = filter_quality(path, tmp_path / "q.parquet", imagery)
        assert len(lines) == bool(said)
        assert not said or lines[0].startswith(f"{said} of 3 images were inspected by an older")


@pytest.mark.parametrize("killed_after", [1, 2])
def test_a_kill_while_images_are_excluded_costs_no_second_reading(
    tmp_path: Path, killed_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, path = ["X", "Y"], tmp_path / "s.h5"
    about = {"backbone": "b", "weights_sha256": "", "transform": "{}", "cache_key": ""}
    quality = np.zeros((2, 2), dtype=QUALITY)
    quality["fingerprint"] = [[1, 2], [3, 0]]  # the last one could not be read
    present = quality["fingerprint"] != 0
    done = np.array([True, False])
    with FeatureStore.create(path, ids, ["a", "b"], 3, about) as store:
        slots = np.arange(2)
        store.write(slots, np.ones((2, 2, 3)), present, done, quality=quality)

    steps = iter(range(killed_after))

    def synced(store: FeatureStore) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt

    fewer = np.array([[True, False], [True, False]])
    with monkeypatch.context() as patched, FeatureStore.open(path, writable=True) as store:
        patched.setattr(FeatureStore, "_sync", synced)
        with pytest.raises(KeyboardInterrupt):
            store.set_mask(fewer, np.array([False, False]))
    assert not FeatureStore.open(path).done.any()
    reset_quality(path, "all")
    store = FeatureStore.open(path)
    np.testing.assert_array_equal(store.done, done)
    np.testing.assert_array_equal(store.present, present)
    assert store.attempted.all()
