from __future__ import annotations

import ast
from pathlib import Path

import pytest

import streetgauge
from streetgauge.errors import InputError, closest, summary


def test_what_a_file_says_cannot_break_the_sentence_or_move_the_cursor() -> None:
    cell = "12\n34\r\x1b[2J\u2028\x00end"
    error = InputError(f"t.csv, column {cell}", f"there is {cell}", closest("x", [cell]))
    assert str(error).isprintable()
    assert str(error).count("end") == 3


def test_a_page_for_a_table_does_not_fill_the_screen() -> None:
    page = "<html>" + "x" * 100_000
    error = InputError("t.csv", "there is no column 'code'", closest("code", [page]))
    assert len(str(error)) < 800
    assert str(error).startswith("t.csv: there is no column 'code'; there are <html>xxx")
    assert error.reason == "there is no column 'code'"


def test_lines_of_a_librarys_message_are_joined_and_a_path_keeps_its_line_end_as_an_escape() -> (
    None
):
    said = str(InputError("a\nb.h5", "it cannot be read (one\ntwo\x1b)", "get it again"))
    assert said == r"a\nb.h5: it cannot be read (one two\x1b); get it again."


@pytest.mark.parametrize(
    ("message", "limit", "expected"),
    [
        ("It is broken.", 200, "It is broken"),
        ("Is it open?", 200, "Is it open?"),
        # The rest of the sentence stands on the next line, and a traceback after it.
        ("size mismatch for\n\thead in it.\n  File x", 200, "size mismatch for head in it"),
        ("no field:\n  a\n  b", 200, "no field: a b"),
        ("It holds 1.5 GB. It is too large.", 20, "It holds 1.5 GB"),
        ("a long sentence without an end", 20, "a long sentence ..."),
        (KeyError(), 200, "KeyError"),
    ],
)  # fmt: skip
def test_another_programs_message_ends_with_a_sentence_or_after_a_word(
    message: object, limit: int, expected: str
) -> None:
    assert summary(message, limit) == expected


def test_every_error_of_the_input_names_a_next_step() -> None:
    without = []
    for path in sorted(Path(streetgauge.__file__).parent.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "InputError":
                continue
            given = [*call.args, *(each.value for each in call.keywords)]
            if any(isinstance(each, ast.Starred) for each in given):
                continue  # reason and step come together
            if len(given) < 3 or (isinstance(given[2], ast.Constant) and not given[2].value):
                without.append(f"{path.name}:{call.lineno}")
    assert not without
