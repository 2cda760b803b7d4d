"""A study's own images get into its report if something allows it, and never else."""

from __future__ import annotations

import base64
import io
import threading
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from streetgauge import model
from streetgauge.errors import InputError
from streetgauge.features import FeatureStore, get_backbone
from streetgauge.io.files import write_table
from streetgauge.pipeline import gallery as stage
from streetgauge.pipeline.report import image_facts
from streetgauge.progress import silent
from streetgauge.report.gallery import Gallery
from streetgauge.settings import read_settings
from streetgauge.study import Study
from streetgauge.study.stages import has_gallery, stage_named

AREAS, VIEWS = 6, ("a", "b")
IDS = [f"P{i:02d}" for i in range(2 * AREAS)]
MINIMAL = (Path(__file__).parents[1] / "minimal.toml").read_text("utf-8")
SETTINGS = """
[features]
source = "images"
[imagery]
views = ["a", "b"]
{imagery}
[report]
{report}
"""
PATTERN = 'pattern = "{location_id}_{view}.png"'
LICENCE = 'licence = "CC BY 4.0"\nattribution = "Jo <b>Doe</b>"'


def picture(place: int) -> Image.Image:
    values = np.random.default_rng(place).integers(0, 255, (60, 80, 3))
    return Image.fromarray(values.astype(np.uint8))


def make_study(
    directory: Path, imagery: str = LICENCE, report: str = "occlusion = false", where: str = ""
) -> Study:
    """Two locations in each area with two views; the score rises with the location's number."""
    directory.mkdir(parents=True, exist_ok=True)
    folder = where or f'folder = "pictures"\n{PATTERN}'
    text = MINIMAL.partition("[features]")[0] + SETTINGS.format(
        imagery=f"{folder}\n{imagery}", report=report
    )
    (directory / "study.toml").write_text(text, "utf-8")
    (directory / "pictures").mkdir(exist_ok=True)
    for i, location in enumerate(IDS):
        for j, view in enumerate(VIEWS):
            picture(2 * i + j).save(directory / "pictures" / f"{location}_{view}.png")
    study = Study.open(directory)
    study.features.parent.mkdir(exist_ok=True)
    with FeatureStore.create(
        study.features, IDS, VIEWS, 1280, {"backbone": "efficientnet-lite0", "engine": "torch"}
    ) as store:
        features = np.zeros((len(IDS), 2, 1280), np.float32)
        features[:, 1, 0] = 5.0  # the second view says more
        store.write(np.arange(len(IDS)), features, np.ones((len(IDS), 2), dtype=bool))
    areas = [f"A{i // 2}" for i in range(len(IDS))]
    frame = pd.DataFrame({"location_id": IDS, "area": areas})
    known = frame.assign(outcome="income", score=np.arange(len(IDS)) / 4.0, decile=5, fold=1)
    write_table(known.assign(actual_decile=pd.array([5] * len(IDS), "Int64")), study.predictions)
    write_table(frame.assign(split="fold-1", fold=1, part="test"), study.splits)
    write_table(frame.assign(lat=51.0, lon=np.arange(len(IDS)) / 10), study.locations)
    return study


def table() -> pd.DataFrame:
    codes = [f"A{i}" for i in range(AREAS)]
    frame = pd.DataFrame({"area": codes, "outcome": "income", "decile": 5})
    return frame.assign(actual_decile=pd.array([5, 6, 9, 5, 5, pd.NA], "Int64"))


def gallery_of(study: Study) -> Gallery:
    made = stage.make_gallery(study, table(), silent)
    assert made is not None
    return made


def shown(gallery: Gallery) -> set[tuple[str, str]]:
    places = [p for groups in gallery.outcomes.values() for g in groups for p in g.locations]
    shots = [s for p in places for s in p.shots] + [s for a in gallery.areas.values() for s in a]
    return {(each.location, each.view) for each in shots}


def test_images_with_a_licence_are_shown_with_it(tmp_path):
    gallery = gallery_of(make_study(tmp_path))
    groups = {group.kind: group.locations for group in gallery.outcomes["income"]}
    assert [place.location for place in groups["highest"]] == ["P11", "P09", "P07"]
    assert groups["lowest"][0].location == "P00"
    assert groups["highest"][0].score == 2.75
    assert [shot.view for shot in groups["highest"][0].shots] == ["a", "b"]
    assert gallery.credits() == ["Jo <b>Doe</b>, CC BY 4.0"]
    assert list(gallery.areas) == ["A2", "A1", "A0", "A3", "A4", "A5"]  # the most wrong first
    assert gallery.note == ""


@pytest.mark.parametrize("imagery", ["", 'attribution = "Jo Doe"'])
def test_without_a_licence_no_image_is_shown_and_it_is_reported(tmp_path, imagery):
    study = make_study(tmp_path, imagery)
    assert not has_gallery(study)
    gallery = gallery_of(study)
    assert shown(gallery) == set()
    assert gallery.note == (
        "No images are shown: the study states no licence that allows showing them."
    )


@pytest.mark.parametrize("licence", ["none", "All rights reserved.", "Unknown", "-"])
def test_what_is_no_licence_is_refused(tmp_path, licence):
    with pytest.raises(InputError, match="allows nothing"):
        make_study(tmp_path, f'licence = "{licence}"')


def test_a_study_that_wants_no_images_has_none(tmp_path):
    study = make_study(tmp_path, report="images = false")
    assert stage.make_gallery(study, table(), silent) is None
    assert not has_gallery(study)


def test_a_study_cannot_insist_on_images_without_a_licence(tmp_path):
    with pytest.raises(InputError, match=r"imagery\.licence does not name"):
        make_study(tmp_path, "", report="images = true")


def test_of_open_imagery_only_images_with_a_licence_are_shown(tmp_path):
    study = make_study(tmp_path, imagery="", where='source = "mapillary"')
    rows = [
        {
            "location_id": location,
            "view": view,
            "path": f"{location}_{view}.png",
            "panorama": False,
            "licence": {"P00": "", "P01": "proprietary", "P11": None}.get(location, "CC BY-SA 4.0"),
            "attribution": f"{location}, Mapillary",
            "source_url": f"https://example.org/{location}",
            "captured_at": pd.Timestamp("2019-05-01", tz="UTC"),
        }
        for location in IDS
        for view in VIEWS
    ]
    write_table(pd.DataFrame(rows), study.images, {"credits": [{"line": "24 images"}]})
    study.image_folder.parent.mkdir(exist_ok=True)
    (tmp_path / "pictures").rename(tmp_path / "moved")
    study.image_folder.parent.mkdir(exist_ok=True)
    (tmp_path / "moved").rename(study.image_folder)
    gallery = gallery_of(study)
    locations = {location for location, _ in shown(gallery)}
    assert locations
    assert not locations & {"P00", "P01", "P11"}
    assert "P10, Mapillary, CC BY-SA 4.0" in gallery.credits()
    assert gallery.outcomes["income"][0].locations[0].shots[0].link == "https://example.org/P10"
    facts = image_facts(study)
    assert facts["captured"] == (2019, 2019)
    assert facts["credits"] == [{"line": "24 images"}]


def test_images_excluded_from_the_features_are_not_shown(tmp_path):
    study = make_study(tmp_path)
    with FeatureStore.open(study.features, writable=True) as store:
        present = np.array(store.present)
        present[IDS.index("P11"), 0] = False
        store.set_mask(present, present.any(axis=1))
    assert ("P11", "b") in shown(gallery_of(study))
    assert ("P11", "a") not in shown(gallery_of(study))


def test_images_that_are_gone_or_damaged_are_counted(tmp_path):
    study = make_study(tmp_path)
    (tmp_path / "pictures" / "P11_a.png").unlink()
    (tmp_path / "pictures" / "P00_a.png").write_bytes(b"no image")
    gallery = gallery_of(study)
    assert not shown(gallery) & {("P11", "a"), ("P00", "a")}
    assert "2 images that were chosen cannot be read now." in gallery.note


@pytest.mark.parametrize("insists", [False, True])
def test_a_folder_that_is_gone_is_no_reason_for_no_report(tmp_path, insists):
    report = "images = true" if insists else ""
    study = make_study(tmp_path, report=f"occlusion = false\n{report}")
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    if insists:
        with pytest.raises(InputError):
            gallery_of(study)
    else:
        assert gallery_of(study).note.startswith("No images are shown: ")


def test_images_in_an_archive_are_the_same(tmp_path):
    plain = gallery_of(make_study(tmp_path / "plain"))
    study = make_study(tmp_path / "packed", where=f'folder = "pictures.zip"\n{PATTERN}')
    with zipfile.ZipFile(tmp_path / "packed" / "pictures.zip", "w") as archive:
        for file in sorted((tmp_path / "packed" / "pictures").iterdir(), reverse=True):
            archive.write(file, file.name)
    assert shown(plain)
    assert gallery_of(study) == plain


def test_views_of_panoramas_are_shown_as_they_were_cut(tmp_path):
    study = make_study(
        tmp_path, imagery=f"{LICENCE}\npanoramas = true\nsize = 64", where='folder = "pictures"'
    )
    for file in (tmp_path / "pictures").iterdir():
        file.unlink()
    for location in IDS:
        Image.fromarray(np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (128, 1, 3))).save(
            tmp_path / "pictures" / f"{location}.jpg", exif=Image.Exif()
        )
    place = gallery_of(study).outcomes["income"][0].locations[0]
    assert {(shot.width, shot.height) for shot in place.shots} == {(64, 64)}
    assert place.shots[0].src != place.shots[1].src


def test_the_same_study_gives_the_same_images(tmp_path):
    one, other = (gallery_of(make_study(tmp_path / name)) for name in "ab")
    assert shown(one)
    assert one == other


class Toy:
    """A bundle whose score is the first feature, summed over the views that are there."""

    outcomes = ("income",)

    @classmethod
    def load(cls, path: Path) -> Toy:
        assert path.name == "fold-1"
        return cls()

    def predict(self, features, present, device):
        class Said:
            score = (features[..., 0] * present).sum(axis=1, dtype=float)[:, None]

        return Said()


def corner(pixels: np.ndarray) -> np.ndarray:
    """Give features of which the first is how bright the upper left corner is."""
    features = np.zeros((len(pixels), 1280), np.float32)
    features[:, 0] = pixels[:, :32, :32].mean(axis=(1, 2, 3))
    return features


def test_what_moved_the_score_is_drawn_on_the_view_that_matters(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "Bundle", Toy, raising=False)
    monkeypatch.setattr(stage._Explainer, "_network", lambda self: corner)
    study = make_study(tmp_path, report="occlusion = true\narea_images = 0")
    for location in IDS:
        bright = np.full((60, 80, 3), 250, dtype=np.uint8)
        Image.fromarray(bright).save(tmp_path / "pictures" / f"{location}_b.png")
    gallery = gallery_of(study)
    place = gallery.outcomes["income"][0].locations[0]
    assert [(shot.view, shot.heat is not None) for shot in place.shots] == [
        ("b", True),
        ("a", False),
    ]
    # 250 less 127 where a square covers the whole corner.
    assert gallery.largest["income"] == pytest.approx(123, abs=1)
    content = base64.b64decode(place.shots[0].heat.src.partition(",")[2])
    drawn = np.asarray(Image.open(io.BytesIO(content)))
    assert drawn[0, 0, 2] > drawn[0, 0, 0]  # blue: what stands there raises the score
    assert drawn[0, 0, 3] == drawn[..., 3].max() > 0
    assert not drawn[2:, :, 3].any()
    assert not drawn[:, 2:, 3].any()
    # Only the first location of each group is explained.
    assert all(s.heat is None for g in gallery.outcomes["income"] for p in g.locations[1:]
               for s in p.shots)  # fmt: skip


def test_a_model_that_is_gone_leaves_the_images_without_explanation(tmp_path):
    study = make_study(tmp_path, report="occlusion = true")
    gallery = gallery_of(study)
    assert gallery.note.startswith("What moved the scores is not shown: ")
    assert ("P11", "a") in shown(gallery)
    assert gallery.largest == {}


def test_a_licence_changes_the_report_and_not_the_features(tmp_path):
    names = {"features": "imagery", "report": "image_rights"}
    stamps: dict[str, list[object]] = {name: [] for name in names}
    for imagery in ("", LICENCE):
        study = make_study(tmp_path, imagery)
        for name, section in names.items():
            assert section in stage_named(name).settings
            stamps[name].append(study._by_content(getattr(study.settings, section)))
    assert stamps["features"][0] == stamps["features"][1]
    assert stamps["report"][0] != stamps["report"][1]


def test_a_licence_of_the_sample_city_is_stated():
    file = Path(stage.__file__).parents[1] / "synthetic" / "study.toml"
    assert read_settings(file).image_rights == {
        "licence": "CC0-1.0",
        "attribution": "drawn by streetgauge",
    }


def test_covered_images_are_computed_by_threads_that_do_not_share_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    explainer = object.__new__(stage._Explainer)
    explainer.backbone = get_backbone("efficientnet-lite0")
    used = []

    def brightness(pixels: np.ndarray) -> np.ndarray:
        used.append((torch.get_num_threads(), threading.current_thread().name))
        return pixels.mean(axis=(1, 2, 3))

    monkeypatch.setattr(explainer, "_network", lambda: brightness)
    monkeypatch.setattr(explainer, "_moved", lambda key, name, seen: seen)
    keys = {("L1", "a"), ("L2", "a")}
    inputs = {key: (np.full((28, 28, 3), 200, np.uint8), None) for key in keys}
    shots = {key: stage.Shot(*key, "", 8, 8, "CC BY 4.0", "", "") for key in keys}
    drawn, largest = explainer.heats({"income": keys}, inputs, shots, silent)
    assert sorted(drawn) == [("income", "L1", "a"), ("income", "L2", "a")]
    assert largest["income"] > 0
    assert {threads for threads, _ in used} == {1}
    assert all(name.startswith("streetgauge") for _, name in used)
