"""What the command line prints while work goes on."""

import io
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from streetgauge.cli.app import Screen


class SlowStream(io.StringIO):
    """A stream on which another thread always gets its turn between two writes."""

    def write(self, text: str) -> int:
        time.sleep(0.001)
        return super().write(text)


def test_folds_that_train_in_threads_report_one_json_object_a_line_and_lose_no_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = SlowStream()
    monkeypatch.setattr(sys, "stderr", stream)
    with (
        Screen(machine=True).progress("train", 40, "epochs") as advance,
        ThreadPoolExecutor(4) as threads,
    ):
        # Every call is past the total at once, so that each prints a line.
        list(threads.map(advance, [40] * 40))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(events) == 40
    assert sorted(each["done"] for each in events) == list(range(40, 1601, 40))


def test_a_screen_without_greek_letters_shows_a_question_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", stream)
    Screen().result("Spearman ρ")
    stream.seek(0)
    assert stream.read() == "Spearman ?\n"
