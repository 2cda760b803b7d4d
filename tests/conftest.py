"""What all tests share."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import hypothesis
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from shapely.geometry import box

from small_worlds import Rows, change, keep_outcomes, leave_out_illness
from streetgauge.cli import main

# Tests run side by side, one core each; set before torch is imported, and for what tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Libraries and tests are a million objects that stay: going through them again and again for
# garbage would take a twelfth of the time.
gc.set_threshold(50_000, 20, 50)

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("streetgauge", deadline=None)
hypothesis.settings.load_profile("streetgauge")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests, so that at the end no process waits for one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Look for garbage among what is made from here on only."""
    gc.freeze()


# Every file that the tests make would wait for the disk, 5 ms each, though no test cuts its power.
os.fsync = os.fstat  # as os.fsync, it refuses what is no open file


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Give each test the root logger of the first: the command line sets it for its screen."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        return (yield)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Take nothing from the user's cache, and leave nothing there."""
    base = tmp_path_factory.getbasetemp()
    of_all_workers = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["STREETGAUGE_CACHE"] = str(of_all_workers / "cache")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real public files; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the real files are not here: {SHARED} does not exist")
    return SHARED


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Folder with small odd inputs; the test is skipped where it is absent."""
    folder = SHARED.with_name("cases")
    if not folder.is_dir():
        pytest.skip(f"the small odd inputs are not here: {folder} does not exist")
    return folder


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Give a function that runs the command line: exit code, standard output, standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["streetgauge", *map(str, words)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def refuse(run: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Give a function that runs what must be refused: exit code 2 and one sentence, returned."""

    def call(*words: object) -> str:
        code, out, err = run(*words)
        assert code == 2, (out, err)
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, err
        return lines[0]

    return call


@dataclass
class SmallDisk:
    """A disk of 16 MB, and the command line on it."""

    place: Path
    run: Callable[..., tuple[int, str, str]]

    def fill(self, left: int) -> None:
        """Leave only so many bytes free."""
        with (self.place / "filler").open("wb") as filler:
            filler.write(bytes(shutil.disk_usage(self.place).free - left))

    def refuse(self, named: Path, *words: object) -> None:
        """Run a command that must end in one sentence, which names a file below a folder."""
        code, _, err = self.run(*words)
        assert code == 1, err
        lines = [line for line in err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1
        assert lines[0].startswith(f"Error: {named}")
        assert "no space left on device; free some, and run the same command again" in lines[0]
        assert "Traceback" not in err


@pytest.fixture
def small_disk(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> Iterator[SmallDisk]:
    """Give a disk of 16 MB, where the system lets this process mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("this process may not mount a disk")
    yield SmallDisk(place, run)
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give a function that makes a folder once, for all processes that the tests run in."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the workers' common folder

    def call(name: str, make: Callable[[Path], object]) -> Path:
        place = base / f"once-{name}"
        with FileLock(f"{place}.lock"):
            if not place.with_suffix(".made").exists():
                make(place)
                place.with_suffix(".made").touch()
        return place

    return call


@pytest.fixture(scope="session")
def demo_once(made_once: Callable[..., Path]) -> Path:
    """Give a sample city that the demo has run from images to a report; only to be read."""
    from streetgauge.synthetic import make_city

    def make(place: Path) -> None:
        make_city(place, seed=2019, n_areas=16, n_locations=64, workers=1)
        keep_outcomes(place, "income", "low_qualification", "crime")  # one of every source
        change(place, "k = 5", "k = 3")
        change(place, "[features]\n", '[features]\nengine = "torch"\n')  # the soonest loaded
        with (place / "study.toml").open("a", encoding="utf-8") as file:
            file.write("\n[train]\nensemble_size = 2\nepochs = 3\nwidth = 128\n")
            file.write("\n[report]\nfigures = 'page'\nocclusion = false\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["streetgauge", "demo", "--out", str(place)])
            with pytest.raises(SystemExit) as stop:
                main()
        assert not stop.value.code

    return made_once("demo", make)


@pytest.fixture
def city(made_once: Callable[..., Path], tmp_path: Path) -> Path:
    """Give a smaller sample city of one's own, of which nothing is computed yet."""
    from streetgauge.synthetic import make_city

    how = {"seed": 1, "n_areas": 12, "n_locations": 48, "workers": 1}
    once = made_once("city", lambda place: make_city(place, **how))
    return Path(shutil.copytree(once, tmp_path / "city"))


@pytest.fixture
def demo(demo_once: Path, tmp_path: Path) -> Path:
    """Give a sample city of one's own."""
    return Path(shutil.copytree(demo_once, tmp_path / "streetgauge-demo"))


CHROMIUM = Path("/usr/bin/chromium")


@dataclass
class Watched:
    """A page in the browser, with all that it asked for and complained of."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no browser at {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def watch(browser: Any) -> Iterator[Callable[..., Watched]]:
    """Give a function that opens an address in a context of its own."""
    contexts = []

    def opened(address: str, **more: Any) -> Watched:
        contexts.append(browser.new_context(**more))
        watched = Watched(contexts[-1].new_page())
        page = watched.page
        page.on("request", lambda request: watched.requests.append(request.url))
        page.on("console", lambda message: watched.complaints.append(message.text))
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.on("dialog", lambda dialog: watched.complaints.append("a dialog opened"))
        page.goto(address)
        return watched

    yield opened
    for context in contexts:
        context.close()


TABLE_STUDY = """
name = "Grid"
seed = 7

[report]
figures = "none"

[areas]
file = "areas.geojson"
code = "code"
name = "name"

[outcomes.income]
label = "Household income"
source = "table"
file = "outcomes.csv"
area = "code"
value = "income"
direction = "higher-is-better"

[outcomes.illness]
source = "table"
file = "outcomes.csv"
area = "code"
value = "illness"
direction = "higher-is-worse"

[locations]
source = "points"
file = "places.csv"
id = "place"

[features]
source = "table"
name = "shares"
file = "features.csv"
columns = ["f0", "f1", "f2", "f3"]
location_id = "place"
view = "view"
k = 2

[folds]
k = 3

[train]
learner = "network"
ensemble_size = 2
epochs = 5
width = 128
"""


def write_grid(directory: Path, *, side: int = 7, per_area: int = 8, seed: int = 0) -> Path:
    """Write a small world with a known answer as a study: f0 shows income, f1 shows illness."""
    rng = np.random.default_rng(seed)
    codes = [f"E{i:08d}" for i in range(side * side)]
    income = rng.permutation(len(codes)).astype(float)
    illness = rng.permutation(len(codes)).astype(float)
    x, y = 1060 + np.arange(len(codes)) % side, 360 + np.arange(len(codes)) // side
    boundaries = gpd.GeoDataFrame(
        {"code": codes, "name": [f"Area {i}" for i in range(len(codes))]},
        geometry=[
            box(a * 500, b * 500, a * 500 + 500, b * 500 + 500) for a, b in zip(x, y, strict=True)
        ],
        crs="EPSG:27700",
    )
    directory.mkdir(parents=True, exist_ok=True)
    boundaries.to_file(directory / "areas.geojson", driver="GeoJSON", engine="pyogrio")
    pd.DataFrame({"code": codes, "income": income, "illness": illness}).to_csv(
        directory / "outcomes.csv", index=False
    )
    of = np.repeat(np.arange(len(codes)), per_area)
    spot = np.column_stack([x[of], y[of]]) * 500 + rng.uniform(20, 480, (len(of), 2))
    points = gpd.GeoSeries.from_xy(spot[:, 0], spot[:, 1], crs="EPSG:27700").to_crs(4326)
    places = [f"P{i:05d}" for i in range(len(of))]
    pd.DataFrame({"place": places, "lat": points.y, "lon": points.x}).to_csv(
        directory / "places.csv", index=False
    )
    views = []
    for view in ("1", "2"):
        features = rng.normal(size=(len(of), 4))
        features[:, 0] += 4 * income[of] / len(codes)
        features[:, 1] += 4 * illness[of] / len(codes)
        frame = pd.DataFrame(features, columns=["f0", "f1", "f2", "f3"]).round(4)
        views.append(frame.assign(place=places, view=view))
    pd.concat(views).to_csv(directory / "features.csv", index=False)
    (directory / "study.toml").write_text(TABLE_STUDY, encoding="utf-8")
    return directory


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Give a fresh study of a small world."""
    return write_grid(tmp_path / "grid")


@pytest.fixture(scope="session")
def finished_once(made_once: Callable[..., Path]) -> Path:
    """Give that world with all stages done; only to be read."""
    return made_once("finished", lambda place: finish(write_grid(place)))


def finish(place: Path) -> None:
    from streetgauge.pipeline.run import run_stage
    from streetgauge.progress import silent
    from streetgauge.study import Study
    from streetgauge.study.stages import STAGES

    study = Study.open(place)
    for stage in STAGES:
        run_stage(study, stage.name, silent)


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> Path:
    """Give a finished study of one's own."""
    return Path(shutil.copytree(finished_once, tmp_path / "finished"))


def plainer(place: Path) -> Path:
    """Leave a study its own folds and one outcome: a quarter of the work."""
    change(place, "k = 3", "k = 3\nother_folds = false")
    leave_out_illness(place)
    return place


@pytest.fixture
def plain(grid: Path) -> Path:
    """Give a fresh study of a small world in one kind of folds, with one outcome."""
    return plainer(grid)


@pytest.fixture
def finished_plain(made_once: Callable[..., Path], tmp_path: Path) -> Path:
    """Give a finished study of one's own in one kind of folds, quicker to be done again."""
    once = made_once("finished-plain", lambda place: finish(plainer(write_grid(place))))
    return Path(shutil.copytree(once, tmp_path / "finished"))


@pytest.fixture(scope="session")
def grid_writer() -> Callable[..., Path]:
    """Give the function that writes such a world."""
    return write_grid


@dataclass(frozen=True)
class World(Rows):
    """A small city with a known answer: features follow the deciles, plus noise and areas."""

    features: np.ndarray
    present: np.ndarray
    deciles: np.ndarray
    areas: np.ndarray
    ids: np.ndarray


def build_world(
    n_areas: int = 40,
    per_area: int = 6,
    views: int = 3,
    dimension: int = 8,
    outcomes: int = 2,
    noise: float = 0.7,
    seed: int = 0,
) -> World:
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n_areas, outcomes))
    ranks = latent.argsort(axis=0).argsort(axis=0)
    deciles = ranks * 10 // n_areas + 1.0
    area = np.repeat(np.arange(n_areas), per_area)
    mix = rng.normal(size=(outcomes, dimension))
    mean = latent @ mix + 0.2 * rng.normal(size=(n_areas, dimension))
    shape = (len(area), views, dimension)
    features = mean[area][:, np.newaxis] + noise * rng.normal(size=shape)
    return World(
        features=(5 + 3 * features).astype(np.float32),  # far from standardised
        present=np.ones(shape[:2], np.bool_),
        deciles=deciles[area],
        areas=np.array([f"A{i:03d}" for i in area]),
        ids=np.array([f"L{i:05d}" for i in range(len(area))]),
    )


@pytest.fixture(scope="session")
def make_world() -> Callable[..., Any]:
    return build_world
