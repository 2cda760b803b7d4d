"""A run tells those who look on how far it is, whatever happens to it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetgauge.errors import InputError
from streetgauge.progress import silent
from streetgauge.study import heartbeat
from streetgauge.study.heartbeat import Running, read_running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".running.json"


def wait_for(file: Path, condition) -> dict:
    for _ in range(200):
        said = read_running(file)
        if said is not None and condition(said):
            return said
        time.sleep(0.05)
    raise AssertionError(f"it never came: {said}")


def test_a_stage_tells_its_name_and_its_bars_and_leaves_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT", 0.02)
    run = Running(file)
    assert read_running(file) is None
    with run.heartbeat():
        assert wait_for(file, lambda said: said["alive"])["stage"] is None
        with run.stage("train", silent) as progress, progress("epochs", 8, "epochs") as advance:
            threads = [threading.Thread(target=advance, args=(1,)) for _ in range(5)]
            for thread in threads:
                thread.start()
            said = wait_for(file, lambda said: said["bars"] and said["bars"][0]["done"] == 5)
            assert said["stage"] == "train"
            bar = said["bars"][0]
            assert (bar["task"], bar["total"], bar["unit"]) == ("epochs", 8, "epochs")
        wait_for(file, lambda said: not said["bars"] and said["stage"] is None)
    assert list(file.parent.iterdir()) == []


def test_the_progress_that_was_given_still_hears_everything(file: Path) -> None:
    from contextlib import contextmanager

    heard = []

    @contextmanager
    def listening(description, total, unit):
        heard.append((description, total, unit))
        yield heard.append
        heard.append("end")

    with (
        Running(file).stage("features", listening) as progress,
        progress("images", 3, "images") as advance,
    ):
        advance(2)
    assert heard == [("images", 3, "images"), 2, "end"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("a.csv", "it is empty", "give another"), "a.csv: it is empty; give another."),
        (KeyboardInterrupt(), "It was stopped by hand."),
        (MemoryError("no more\nat all"), "MemoryError: no more at all"),
    ],
)
def test_a_run_that_does_not_end_well_says_why(file: Path, error: BaseException, said: str) -> None:
    run = Running(file)
    with pytest.raises(type(error)), run.heartbeat(), run.stage("outcomes", silent):
        raise error
    left = read_running(file)
    assert left is not None
    assert (left["stopped"], left["stage"], left["alive"]) == (said, "outcomes", False)
    with run.heartbeat():
        pass
    assert read_running(file) is None


def test_a_run_that_was_killed_is_known_by_its_silence(file: Path) -> None:
    with Running(file).heartbeat():
        said = json.loads(file.read_text())
    file.write_text(json.dumps(said))
    assert read_running(file)["alive"]
    file.write_text(json.dumps(said | {"heartbeat": said["heartbeat"] - heartbeat.SILENT - 1}))
    assert not read_running(file)["alive"]


def test_a_directory_that_nothing_can_be_written_to_stops_no_run(tmp_path: Path) -> None:
    with Running(tmp_path / "missing" / ".running.json").heartbeat():
        worked = True
    assert worked


@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(
                        ["bars", "stage", "heartbeat", "since", "stopped", "stage_since", "task"]
                    ),
                    inner,
                )
            ),
        ).map(json.dumps),
    )
)
def test_whatever_stands_in_the_file_is_read_or_passed_over(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "strange.json"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    said = read_running(file)
    assert said is None or isinstance(said["alive"], bool)
