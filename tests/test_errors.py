from __future__ import annotations

from streetgauge.errors import InputError, closest


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
