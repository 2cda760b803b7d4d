"""What the guide shows can be run, read and found as it stands."""

from __future__ import annotations

import ast
import doctest
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from pydantic import ValidationError
from typer.main import get_command

import streetgauge
from streetgauge.cli import app
from streetgauge.settings import StudySettings

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs"
PAGES = [
    *sorted(GUIDE.glob("*.md")),
    ROOT / "README.md",
    *sorted(ROOT.glob("examples/*/README.md")),
]

_FENCE = re.compile(
    r"^(?:<!-- (?P<note>[^\n]*?) -->\n+)?"  # a comment before it may give an example a name
    r"(?P<ticks>`{3,})(?P<kind>[\w{}-]*)[^\n]*\n(?P<text>.*?)^(?P=ticks)$",
    re.M | re.S,
)


class Block(NamedTuple):
    """One example: where it stands, what it is written in, the comment before it, its text."""

    where: str
    kind: str
    note: str | None
    text: str


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    name = page.relative_to(ROOT).as_posix()
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("text"))
        yield Block(f"{name}:{line}", found["kind"], found["note"], found["text"])
    prose = _FENCE.sub("", text)
    for indented in re.findall(r"(?:^ {4}[^\n]+\n)+", prose, re.M):
        yield Block(f"{name} (indented)", "", None, re.sub(r"^ {4}", "", indented, flags=re.M))


def _all(*kinds: str) -> list[Block]:
    return [block for page in PAGES for block in _blocks(page) if block.kind in kinds]


# --- python -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_example_of_the_guide_runs(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo.parent)
    names: dict[str, Any] = {}
    for block in _all("python"):
        exec(compile(block.text, block.where, "exec"), names)
    assert names["features"].shape == (len(names["ids"]), 4, 1280)
    assert len(list(Path("dressed").glob("*.jpg"))) == 4 * 8
    assert names["oracle"]["location_id"].tolist() == names["locations"]["location_id"].tolist()
    assert len(names["every"]) > 100
    assert Path("places.csv").read_text().startswith("place,lat,lon\nP000000,")


# --- toml ---------------------------------------------------------------------------------------

# A study that every fragment of study.toml can be put into.
BASE: dict[str, Any] = {
    "name": "Any",
    "areas": {"file": "areas.gpkg", "code": "code"},
    "outcomes": {
        name: {
            "source": "table",
            "file": "table.csv",
            "area": "code",
            "value": name,
            "direction": "higher-is-better",
        }
        for name in ("income", "crime", "crime_2015")
    },
    "locations": {"source": "points", "file": "places.csv", "id": "place"},
    "imagery": {"folder": "images"},
}
# These sections say one thing in several ways: an example of one replaces the base's way.
WHOLE = ("areas", "locations")


def _study(text: str) -> dict[str, Any]:
    """Put an example into the study, unless it is a whole one."""
    given = tomllib.loads(text)
    if {"areas", "outcomes", "locations"} <= given.keys():
        return given
    merged: dict[str, Any] = {**BASE}
    for key, section in given.items():
        base = BASE.get(key)
        apart = not isinstance(section, dict) or key in WHOLE or "source" in section
        merged[key] = section if apart or base is None else {**base, **section}
    if merged.get("features", {}).get("source", "images") != "images" and "imagery" not in given:
        del merged["imagery"]
    return merged


def _settings_of(block: Block) -> StudySettings:
    try:
        return StudySettings.model_validate(_study(block.text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise AssertionError(f"{block.where}: {error}") from None


def test_every_toml_of_the_guide_is_a_part_of_study_toml() -> None:
    examples = [block for block in _all("toml") if block.note != "net.toml"]
    assert len(examples) > 20
    for block in examples:
        _settings_of(block)


def test_a_toml_with_a_key_that_does_not_exist_would_be_seen() -> None:
    with pytest.raises(AssertionError, match=r"here: .*\n.*bakcbone"):
        _settings_of(Block("here", "toml", None, '[features]\nbakcbone = "vgg16-caffe-fc6"\n'))


def test_the_rule_of_an_onnx_file_can_be_read(tmp_path: Path) -> None:
    from streetgauge.features.families import read_rule  # the rest needs the network, too

    (block,) = (block for block in _all("toml") if block.note == "net.toml")
    for text in (block.text, re.sub(r"^# (?=\w+ = )", "", block.text, flags=re.M)):
        (tmp_path / "net.toml").write_text(text)
        assert read_rule(tmp_path / "net.onnx")


def test_the_english_study_of_the_guide_reads_real_files(
    shared_data: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (text,) = (block.text for block in _all("toml") if block.note == "the English study")
    london = {
        "LSOA_2011_London_gen_MHW.zip": "LSOA_2011_London_gen_MHW.zip",
        "qs302ew.csv": "qs302ew.csv.gz",
        (income := "modelled-household-income-estimates-lsoa.csv"): income,
        **dict.fromkeys(re.findall(r"File_7_[\w.-]+", text), "imd2019_england_lsoa11.csv.gz"),
        "ONSPD_AUG_2024.zip": "postcodes_london_lsoa11.csv.gz",
    }
    for named, file in london.items():
        assert f'"data/{named}"' in text
        text = text.replace(f'"data/{named}"', f'"{(shared_data / "london" / file).as_posix()}"')
    # This directory was derived without dates: it does not know which postcodes ended.
    text = text.replace("live_only = true\n", "")
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    for stage in ("outcomes", "locations"):
        code, out, err = run(stage, tmp_path)
        assert code == 0, err
        assert stage == "outcomes" or "256 of 256 areas" in out + err


# --- the command line -----------------------------------------------------------------------------

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


def _lines(block: Block) -> Iterator[str]:
    """Give the command lines of an example, those that go on in the next line as one."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = line.strip().removeprefix("$ ")
        if words.startswith("streetgauge "):
            yield words


def _parse(line: str) -> None:
    """Parse a command line as the program would, and do nothing."""
    _, verb, *words = shlex.split(line, comments=True)
    assert verb in COMMANDS, f"there is no `streetgauge {verb}`"
    COMMANDS[verb].make_context(verb, words)


def test_every_command_line_of_the_guide_can_be_given() -> None:
    count = 0
    for block in _all("", "bash", "console", "sh"):
        for line in _lines(block):
            count += 1
            try:
                _parse(line)
            except (AssertionError, click.ClickException, Exception) as error:
                pytest.fail(f"{block.where}: `{line}`: {getattr(error, 'message', error)}")
    assert count > 25


@pytest.mark.parametrize("verb", ["age", "coverage", "fairness"])
def test_what_the_guide_asks_of_the_sample_city_runs(
    verb: str, demo: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(demo.parent)
    lines = {line for block in _all("sh") for line in _lines(block)}
    (words,) = (
        shlex.split(line) for line in lines if line.startswith(f"streetgauge {verb} street")
    )
    (demo / f"{verb}.json").unlink(missing_ok=True)
    code, out, err = run(*words[1:])
    assert code == 0, err
    assert out.strip()
    assert (demo / f"{verb}.json").is_file()


@pytest.mark.parametrize(
    "line", ["streetgauge rum x", "streetgauge run x --froce", "streetgauge run"]
)
def test_a_command_line_that_cannot_be_given_would_be_seen(line: str) -> None:
    with pytest.raises(Exception, match=r"rum|froce|study"):
        _parse(line)


def test_every_verb_and_option_in_the_text_exists() -> None:
    for page in PAGES:
        for inline in re.findall(
            r"`streetgauge ([^`\n]+)`", _FENCE.sub("", page.read_text("utf-8"))
        ):
            verb, *words = inline.split()
            if verb.startswith("-") or not re.fullmatch(r"[a-z-]+", verb):
                continue  # --version, or VERB
            assert verb in COMMANDS, f"{page.name}: `streetgauge {inline}`"
            known = {o for p in COMMANDS[verb].params for o in (*p.opts, *p.secondary_opts)}
            for word in words:
                assert not word.startswith("-") or word in {*known, "--help"}, (
                    f"{page.name}: {inline}"
                )


def test_every_example_of_the_help_can_be_given() -> None:
    for verb, command in COMMANDS.items():
        examples = re.findall(r"`(streetgauge [^`]+)`", command.epilog or "")
        assert examples, f"the help of {verb} has no example"
        for line in examples:
            _parse(line)


# --- what is written by the package itself, and what the pages name -------------------------------


def _docs_module(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(GUIDE))
    sys.modules.pop(name, None)
    return __import__(name)


def test_the_cheat_sheet_has_every_verb_with_all_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _docs_module("cli_sheet", monkeypatch).write_cli_sheet(tmp_path / "cli.md")
    text = (tmp_path / "cli.md").read_text("utf-8")
    common = text.split("## Of most verbs")[1].split("\n## ")[0]
    for verb, command in COMMANDS.items():
        part = text.split(f"\n## {verb}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            for name in parameter.opts if parameter.param_type_name == "option" else ():
                assert f"`{name}`" in part + common, f"{verb} {name}"


def test_the_settings_page_has_every_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _docs_module("settings_table", monkeypatch)
    assert set(module.SECTIONS) == set(StudySettings.model_json_schema()["$defs"])


def test_python_s_pages_have_every_public_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _docs_module("api_pages", monkeypatch)
    module.write_api_pages(tmp_path)
    for package in module.PACKAGES:
        text = (tmp_path / f"{package}.md").read_text("utf-8")
        for name in __import__(package, fromlist=["x"]).__all__:
            assert f":: {package}.{name}\n" in text
    packages = {path.parent.name for path in ROOT.glob("src/streetgauge/*/__init__.py")}
    shown = {name.split(".")[1] for name in module.PACKAGES if "." in name}
    internal = {"cli", "io", "locations", "pipeline", "settings", "study", "view"}
    assert packages - shown == internal
    assert set(dir(streetgauge)) == {*streetgauge.__all__, *shown}


def test_a_package_shows_its_public_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _docs_module("api_pages", monkeypatch)
    for name in ("features", "model", "report", "splits", "synthetic"):  # loaded when asked for
        package = import_module(f"streetgauge.{name}")
        assert dir(package) == package.__all__
        assert f"streetgauge.{name}" in module.PACKAGES


def test_the_guide_uses_public_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _docs_module("api_pages", monkeypatch)
    public = {name: set(import_module(name).__all__) for name in module.PACKAGES}
    for block in _all("python", "py", "py3"):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("streetgauge"):
                assert {each.name for each in node.names} <= public[str(node.module)], block.where


def test_every_public_name_has_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    names = dict(_docs_module("api_pages", monkeypatch).public_names())
    assert [name for name, about in names.items() if ">>> " not in about] == []
    assert {"streetgauge.embed", "streetgauge.model.Bundle.load"} <= names.keys()


def test_files_that_pages_name_are_there() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        for name in re.findall(r"\b((?:benchmarks|examples|docs|tests)/[\w/.-]*\w)", text):
            assert (ROOT / name).exists() or name.startswith("examples/acs/data"), (
                f"{page.name}: {name}"
            )
        for file, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            assert test in {getattr(node, "name", None) for node in tree.body}, f"{file}::{test}"


def test_every_page_can_be_reached_from_the_first() -> None:
    index = (GUIDE / "index.md").read_text("utf-8")
    tree = {
        name
        for block in re.findall(r"```\{toctree\}(.*?)```", index, re.S)
        for name in block.split()
    }
    assert {page.stem for page in GUIDE.glob("*.md")} - tree == {"index"}


@pytest.mark.slow
def test_the_tutorial_gives_the_outputs_that_are_stored_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _docs_module("notebook_page", monkeypatch)
    stored = json.loads(module.NOTEBOOK.read_text("utf-8"))["cells"]
    for before, now in zip(stored, module.run(stored, tmp_path), strict=True):
        for shown, given in zip(before.get("outputs", ()), now.get("outputs", ()), strict=True):
            texts = [
                "".join(each.get("data", each).get("text/plain", "")) for each in (shown, given)
            ]
            words, numbers = zip(*(_apart(text) for text in texts), strict=True)
            assert words[0] == words[1], before["id"]
            # Another processor rounds otherwise, and an area may change its class by that.
            assert numbers[1] == pytest.approx(numbers[0], rel=0.1, abs=1.01), before["id"]


def _apart(text: str) -> tuple[list[str], list[float]]:
    """Give the words of an output, and its numbers."""
    number = r"-?\d+(?:\.\d+)?"
    return re.sub(number, " ", text).split(), [float(each) for each in re.findall(number, text)]


def test_the_gallery_shows_every_figure_that_is_drawn_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _docs_module("gallery_page", monkeypatch).write_gallery(tmp_path)
    page = (GUIDE / "gallery.md").read_text("utf-8")
    shown = set(re.findall(r"_generated/gallery/([\w.-]+)", page))
    drawn = {path.name for path in tmp_path.iterdir()}
    assert shown <= drawn
    assert drawn - shown == {"groups-crime.svg"}  # as that of income


def test_extras_that_pages_install_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {
        extra
        for page in PAGES
        for group in re.findall(r"streetgauge\[([\w,]+)\]", page.read_text("utf-8"))
        for extra in group.split(",")
    }
    assert named
    assert named <= project["optional-dependencies"].keys()


@pytest.mark.slow
def test_every_example_of_a_docstring_is_true(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo.parent)  # where streetgauge-demo is, and what is written goes
    count = 0
    for file in sorted((ROOT / "src").rglob("*.py")):
        if ">>> " in file.read_text("utf-8"):
            name = ".".join(file.relative_to(ROOT / "src").with_suffix("").parts)
            found = doctest.testmod(
                import_module(name.removesuffix(".__init__")), optionflags=doctest.ELLIPSIS
            )
            count += found.attempted
            assert not found.failed, name
    assert count > 300
