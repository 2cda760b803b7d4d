"""study.toml becomes frozen settings, or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from streetgauge.errors import InputError
from streetgauge.settings import SettingsError, StudySettings, input_files, read_settings

GOOD = (Path(__file__).parents[1] / "minimal.toml").read_text("utf-8")


@pytest.fixture
def refused(tmp_path: Path):
    """Write settings with one part replaced, and give the sentence that refuses them."""

    def refuse(old: str, new: str) -> str:
        assert old in GOOD
        file = tmp_path / "study.toml"
        file.write_text(GOOD.replace(old, new), encoding="utf-8")
        with pytest.raises(InputError) as caught:
            read_settings(file)
        sentence = str(caught.value)
        assert sentence.startswith(str(file))
        assert "\n" not in sentence
        return sentence

    return refuse


def test_paths_start_at_the_directory_of_study_toml(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(GOOD, encoding="utf-8")
    settings = read_settings(tmp_path / "study.toml")
    assert dict(input_files(settings)) == {
        "areas.file": tmp_path / "areas.geojson",
        "outcomes.income.file": tmp_path / "outcomes.csv",
        "locations.file": tmp_path / "places.csv",
        "features.file": tmp_path / "features.csv",
    }


def test_settings_are_frozen(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(GOOD, encoding="utf-8")
    settings = read_settings(tmp_path / "study.toml")
    with pytest.raises(ValidationError, match="frozen"):
        settings.folds.k = 3


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("name = ", "nama = ", ["nama: this key is not known", "did you mean 'name'?"]),
        ("direction =", "directon =", ["outcomes.income.directon", "did you mean 'direction'?"]),
        ("[areas]", "[area]", ["area: this key is not known", "did you mean 'areas'?"]),
        ('columns = ["f0', 'colums = ["f0', ["features.colums", "did you mean 'columns'?"]),
        ('direction = "higher-is-better"', "", ["outcomes.income.direction: this key is missing"]),
        ('"higher-is-better"', '"up"', ["'up' is not allowed", "'higher-is-worse'"]),
        ('source = "points"', 'source = "point"', ["locations: source = 'point'", "'points'"]),
        ('source = "points"', "", ["locations: the key 'source' is missing", "'directory'"]),
        ('name = "Test"', "name = 7", ["name: 7 is not allowed", "string"]),
        ('name = "Test"', 'name = "T"\nseed = "1"', ["seed: '1' is not allowed", "integer"]),
        ('name = "Test"', 'name = "T"\nseed = true', ["seed: True is not allowed"]),
        ('name = "Test"', "name = ", ["not TOML", "line 2"]),
        ("[outcomes.income]", '[outcomes."a/b"]', ["outcomes.a/b"]),
        ('location_id = "place"', "", ["features: give either 'location_id' or both"]),
        ('["f0", "f1"]', '["f0", "f0"]', ["a column is named more than once"]),
        ("[features]", '[imagery]\nfolder = "x"\n[features]', ["[imagery] is not used"]),
        ("[features]", "[folds]\nk = 1\n[features]", ["folds.k: 1", "greater than or equal to 2"]),
        ("[features]", "[folds]\nvalidation = 1.5\n[features]", ["folds.validation: 1.5"]),
    ],
)
def test_what_is_wrong_is_named_with_the_next_step(refused, old, new, parts) -> None:
    sentence = refused(old, new)
    for part in parts:
        assert part in sentence


def test_without_imagery_or_locations_nothing_can_be_trained(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(GOOD, encoding="utf-8")
    assert read_settings(file).lacking is None
    file.write_text(GOOD.split("[features]")[0], encoding="utf-8")
    assert read_settings(file).lacking == "[imagery], or [features] of another source"
    file.write_text(GOOD.split("[locations]")[0], encoding="utf-8")
    assert read_settings(file).lacking == "[locations]"


def test_a_key_of_another_source_is_reported_to_be_one(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    imagery = '[imagery]\nsource = "mapillary"\nfolder = "x"\n'
    file.write_text(GOOD.split("[features]")[0] + imagery, encoding="utf-8")
    message = r"imagery\.folder: this key is not known here; it goes with source = 'files'\."
    with pytest.raises(InputError, match=message):
        read_settings(file)
    file.write_text(file.read_text("utf-8").replace("folder", "oldst"), encoding="utf-8")
    with pytest.raises(InputError, match=r"this key is not known; did you mean 'oldest'\?"):
        read_settings(file)


def test_a_pattern_without_its_fields_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    imagery = '[imagery]\nfolder = "x"\npattern = "{location_id}.jpg"\n'
    file.write_text(GOOD.split("[features]")[0] + imagery, encoding="utf-8")
    with pytest.raises(InputError, match=r"lacks \{view\}"):
        read_settings(file)


def test_a_missing_study_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="streetgauge init"):
        read_settings(tmp_path / "study.toml")


def test_the_template_of_init_can_be_used() -> None:
    import tomllib
    from importlib.resources import files

    text = files("streetgauge").joinpath("study.template.toml").read_text(encoding="utf-8")
    assert StudySettings.model_validate(tomllib.loads(text)).name == "My city"


def test_an_onnx_file_is_a_file_of_the_study_and_names_its_store(tmp_path: Path) -> None:
    from streetgauge.settings import ImageFeatures

    onnx = ImageFeatures.model_validate({"source": "images", "backbone": "onnx:nets/a.onnx"})
    assert (onnx.backbone, onnx.weights, onnx.store) == (
        "onnx",
        Path("nets/a.onnx"),
        "onnx-a",
    )
    with pytest.raises(ValidationError, match="an ONNX file contains its own weights"):
        ImageFeatures.model_validate({"backbone": "onnx:a.onnx", "weights": "b.safetensors"})
    plain = ImageFeatures(backbone="vgg16-caffe-fc6", relu=False)
    assert plain.store == "vgg16-caffe-fc6"
    assert ImageFeatures(backbone="vgg16-caffe-fc6", relu=True).store == "vgg16-caffe-fc6-relu"


@given(st.text(max_size=300))
def test_no_text_makes_it_crash(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("study") / "study.toml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(InputError):
        read_settings(file)


def test_all_rules_between_sections_are_reported_at_once_with_what_is_wrong_within_one(
    tmp_path: Path,
) -> None:
    wrong = """
[imagery]
folder = "images"

[report]
images = true

[train]
tune = "head"

[evaluation]
previous = { income = "illness", income2 = "income2" }

[folds]
scheme = "test-only"
"""
    file = tmp_path / "study.toml"
    expected = [
        "'tune' belongs to [transfer]",
        'folds.scheme = "test-only" tests a model',
        "evaluation.previous names 'illness'",
        "evaluation.previous names 'income2'",
        "evaluation.previous makes 'income2' its own",
        "imagery.licence does not name",
        '[imagery] is not used with features.source = "table"',
    ]
    file.write_text(GOOD + wrong)
    with pytest.raises(SettingsError) as caught:
        read_settings(file)
    found = [str(each) for each in caught.value.errors]
    assert len(found) == len(expected)
    for part in expected:
        assert sum(part in each for each in found) == 1
    file.write_text(GOOD + wrong.replace("[folds]", "[folds]\nkk = 3"))
    with pytest.raises(SettingsError) as caught:
        read_settings(file)
    found = [str(each) for each in caught.value.errors]
    assert "folds.kk: this key is not known" in found[0]
    assert len(found) == len(expected)  # that of [folds] waits for its section
    assert not any("test-only" in each for each in found)


def test_all_rules_within_one_section_are_reported_at_once_with_its_wrong_keys(
    tmp_path: Path,
) -> None:
    file = tmp_path / "study.toml"
    folds = """
[folds]
scheme = "blocks"
unit = "location"
file = "folds.parquet"
other_block = 500.0
other_folds = false
classes = [1]
"""
    expected = [
        "'classes' is not used with scheme",
        "scheme = \"blocks\" needs 'block'",
        'unit = "location" splits areas',
        "'file' has the split of locations",
        "'other_block' is the block size next to random folds",
    ]

    def found(sections: str) -> list[str]:
        file.write_text(GOOD + sections)
        with pytest.raises(SettingsError) as caught:
            read_settings(file)
        start = f"{file}: folds: "
        return [str(each).removeprefix(start).split(";")[0] for each in caught.value.errors]

    rules = found(folds)
    assert len(rules) == len(expected)
    for part in expected:
        assert sum(part in each for each in rules) == 1
    # What reads a wrong key waits for it; the other rules do not.
    wrong, *rules = found(folds.replace('"folds.parquet"', "5"))
    assert "folds.file: 5 is not allowed" in wrong
    assert len(rules) == 4
    assert not any("'file' has" in each for each in rules)
    wrong, *rules = found('[folds]\nk = "3"\nbuffer = 50.0\nscheme = "train-only"\n')
    assert "folds.k: '3' is not allowed" in wrong
    assert rules == ["'buffer' needs a scheme that both trains and tests."]
