"""Names, labels and paths are shown as they are, whatever signs are in them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from streetgauge.cli.app import Screen
from streetgauge.errors import InputError, visible
from streetgauge.markup import markdown_text

Run = Callable[..., tuple[int, str, str]]
TAGS = "City [/bold] of [red]X :smile:"
LABEL = "In[/x]come | <b>*a* `c`"
ASCII = {"PYTHONUTF8": "0", "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def marked(finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a finished study, of a name, a label and a folder that are markup."""
    place = tmp_path_factory.mktemp("text") / "v[2]" / "leeds[draft]"
    shutil.copytree(finished_once, place)
    file = place / "study.toml"
    text = file.read_text(encoding="utf-8")
    text = text.replace('name = "Grid"', f'name = "{TAGS} \\u001b[2J"')
    file.write_text(text.replace("Household income", LABEL), encoding="utf-8")
    return place


def test_a_name_of_tags_a_label_of_tags_and_a_folder_in_brackets_stand_on_the_screen(
    run: Run, marked: Path
) -> None:
    code, out, err = run("run", marked)
    assert code == 0, err
    assert f"{TAGS} \\x1b[2J: areas' deciles" in out
    assert LABEL in out
    assert "\x1b[2J" not in out + err
    assert f"Report: {marked / 'report.html'}\n" in out
    assert (marked / "report.html").exists()


def test_tags_in_what_other_commands_print_are_text(
    run: Run, refuse: Callable[..., str], marked: Path
) -> None:
    bundle = marked.parent / "b[/x]"
    code, out, err = run("export", marked, "--out", bundle)
    assert code == 0, err
    assert f"What it is: streetgauge info {bundle}\n" in out
    for words in (("info", bundle), ("info", marked), ("outcomes", marked), ("map", marked)):
        code, out, err = run(*words)
        assert code == 0, err
        assert "[/bold]" in out or "[/x]" in out or "[draft]" in out
    code, out, err = run("compare", marked, marked)
    assert code == 0, err
    assert f"a = {marked}" in " ".join(out.split())
    assert "[/y]/study.toml" in refuse("run", "[/y]")
    card = (bundle / "README.md").read_text(encoding="utf-8")
    body = card.split("\n---\n", 1)[1]
    assert r"| In\[/x\]come \| \<b\>\*a\* \`c\` |" in body
    assert "<b>" not in body
    rows = [line for line in body.splitlines() if line.startswith("| In")]
    assert {line.replace(r"\|", "").count("|") for line in rows} <= {7, 3}


def test_what_moves_a_cursor_becomes_an_escape_in_messages_tables_and_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen, evil = Screen(), "a\x1b[31mb\rc\nd\u202ee\udcfff"
    table = Table(title=Text(evil), caption=evil)
    table.add_column(evil)
    table.add_row(evil)
    screen.report(evil)
    screen.error(evil)
    screen.result(evil)
    screen.result(table)
    out, err = capsys.readouterr()
    shown = r"a\x1b[31mb\rc\nd\u202ee\xfff"
    assert visible(evil) == shown
    assert err.splitlines() == [shown, f"Error: {shown}"]
    assert out.splitlines()[0] == shown
    assert not {"\x1b", "\r", "\u202e", "\udcff"} & set(out + err)
    assert str(InputError("a\nb", "is not there")) == r"a\nb: is not there."
    assert visible("n\u0153ud Z\u00fcrich \u00a0\u200d") == "n\u0153ud Z\u00fcrich \u00a0\u200d"


def test_a_log_of_several_lines_stays_of_several_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().report("one\ntwo\x1b", event="log")
    assert capsys.readouterr().err == "one\ntwo\\x1b\n"


def test_progress_of_a_task_whose_name_is_a_tag_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with Screen().progress("train [/x]", 2, "epochs") as advance:
        advance(2)
    assert "train [/x]" in stream.getvalue()


def test_markdown_shows_what_was_given() -> None:
    assert markdown_text("a\nb") == "a b"
    assert markdown_text("[x](y) $z$ & #1") == r"\[x\](y) \$z\$ \& #1"


def test_a_folder_whose_name_has_a_line_end_is_named_on_one_line(
    run: Run, refuse: Callable[..., str], marked: Path
) -> None:
    place = Path(shutil.copytree(marked, marked.parent / "new\nline"))
    code, out, err = run("info", place)
    assert code == 0, err
    assert r"new\nline" in "".join(out.split())
    # GDAL takes line ends out of names, and finds no such boundaries.
    said = refuse("report", place, "--force")
    assert rf"new\nline{os.sep}areas.geojson: the boundaries cannot be read" in said


def test_a_name_that_is_no_utf8_is_refused_before_any_work(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/bad\xff"
    try:
        os.mkdir(name)  # noqa: PTH102
    except OSError:
        pytest.skip("this file system has no such names")
    done = subprocess.run(
        [sys.executable, "-m", "streetgauge", "run", name], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"bad\\xff: this name has bytes that are not UTF-8; give it another name." in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_terminal_of_ascii_gets_all_results(marked: Path) -> None:
    command = [sys.executable, "-m", "streetgauge"]
    for words in (["--help"], ["run", str(marked)], ["run", "--json", str(marked)]):
        done = subprocess.run(
            [*command, *words], capture_output=True, check=False, env={**os.environ, **ASCII}
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()
        assert done.stderr.isascii()
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found[0]["scheme"]["description"]
    assert found[-1]["report"] == str(marked / "report.html")


def test_the_name_of_the_case_is_shown_as_it_is(run: Run, grid: Path, shared_cases: Path) -> None:
    name = (shared_cases / "hostile" / "markup_in_a_name.toml.part").read_text("utf-8").strip()
    file = grid / "study.toml"
    file.write_text(file.read_text("utf-8").replace('name = "Grid"', name), encoding="utf-8")
    code, out, err = run("outcomes", grid)
    assert code == 0, err
    assert "City [/bold] of [x]: outcomes" in out
