"""Python in three lines: a table of features, an evaluation and a map, from frames and folders.

Nothing is computed here in another way than a study does: `embed` fills a feature store, `evaluate`
writes a study of its arguments and runs its stages, and `write_map` is what `streetgauge map` does.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from streetgauge.errors import InputError, missing_torch
from streetgauge.markup import estimate_text
from streetgauge.notebook import Metrics, Results
from streetgauge.progress import silent
from streetgauge.settings import StudySettings

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import ArrayLike, NDArray

    from streetgauge.study import Study


log = logging.getLogger(__name__)

_IMAGE = re.compile(r"\.(jpe?g|jfif|png|webp|tiff?|bmp|gif|ppm|pgm|jp2|avif|hei[cf])", re.I)
_VIDEO = re.compile(r"\.(mp4|mov|avi|mkv|webm|m4v|mpe?g|360|insv)", re.I)
_FRAMES = "extract images from the videos first: ffmpeg -i ride.mp4 -vf fps=1 ride-%05d.jpg"
_MOST_CLASSES = 20
_CLASSES = "give classes=[lowest, ..., highest], or y as an ordered Categorical"


def embed(
    folder: str | Path,
    pattern: str | None = None,
    *,
    backbone: str = "efficientnet-lite0",
    device: str = "auto",
) -> pd.DataFrame:
    """Compute the features of every image in a folder.

    Parameters
    ----------
    folder : str or Path
        A folder with its subfolders, or a tar or zip archive.
    pattern : str, optional
        How files are named, e.g. ``"{location_id}_{view}.jpg"``. Without it each image stands for
        itself, under the name of its file.
    backbone : str
        The network; see :doc:`/backbones`.
    device : {"auto", "cpu", "cuda", "mps"}
        Where it runs.

    Returns
    -------
    DataFrame
        One row an image, sorted, and a float32 column for each feature. The index is ``file``;
        with a pattern it is ``location_id``, and ``view`` if the pattern has one. What could not
        be used is in ``.attrs["skipped"]``: the reason by file.

    Raises
    ------
    InputError
        If no image can be used, two files are the same view, or PyTorch is not installed.

    Examples
    --------
    >>> import tempfile, numpy, PIL.Image, streetgauge
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("SE1_a", "SE1_b"):
    ...     PIL.Image.fromarray(numpy.zeros((64, 64, 3), "uint8")).save(f"{folder.name}/{name}.png")
    >>> streetgauge.embed(folder.name).shape
    (2, 1280)
    """
    images, skipped = _list_images(Path(folder), pattern)
    views = sorted(images["view"].unique())
    with _torch_needed(), TemporaryDirectory(prefix="streetgauge-") as place:
        from streetgauge.features import Extraction, FeatureStore, extract_features

        file = Path(place) / "features.h5"
        ids = sorted(images["location_id"].unique())
        wanted = Extraction(
            images, ids, file, backbone, view_names=views, require="any", device=device
        )
        broken = extract_features(wanted)
        names = images.set_index(["location_id", "view"])["file"]
        keys = pd.MultiIndex.from_frame(broken[["location_id", "view"]].fillna(views[0]))
        skipped |= dict(zip(names.reindex(keys), broken["reason"], strict=True))
        store = FeatureStore.open(file)
        there = np.asarray(store.present) & np.asarray(store.done)[:, None]
        rows, columns = np.nonzero(there)
        features = np.asarray(store.features)[rows, columns].astype(np.float32)
        index = _index_of(np.asarray(store.location_ids)[rows], np.array(views)[columns], pattern)
    if not len(features):
        first, reason = next(iter(skipped.items()))
        raise InputError(folder, f"no image in it can be read, e.g. {first}", reason)
    if skipped:
        first, reason = next(iter(skipped.items()))
        few = f"{len(skipped):,} of {len(images):,} files were skipped, e.g. {first}: {reason}"
        log.warning("%s: %s; all are in .attrs['skipped'].", folder, few)
    frame = pd.DataFrame(features, index, [f"f{i}" for i in range(features.shape[1])])
    frame.attrs["skipped"] = skipped
    return frame


def _list_images(folder: Path, pattern: str | None) -> tuple[pd.DataFrame, dict[str, str]]:
    """List the images of a folder (location_id, view, path, member, file), and what is none."""
    from streetgauge.imagery.folders import Folder
    from streetgauge.imagery.patterns import Pattern

    try:
        place = Folder(folder)
    except InputError as error:
        raise InputError(folder, error.reason, "name a folder or an archive with images") from None
    shape = Pattern(pattern or "**/*", ("",))
    rows: list[tuple[str, str, str, str, str]] = []
    others: Counter[str] = Counter()
    for file in place.files(shape):
        suffix = PurePosixPath(file.name).suffix
        if not _IMAGE.fullmatch(suffix):
            others[suffix.lower()] += 1
            continue
        found = (file.name, "") if pattern is None else shape.parse(file.name)
        if found is None:
            others[suffix.lower()] += 1
        else:
            rows.append((found[0], found[1] or "1", file.path, file.member, file.name))
    if not rows:
        raise _without_images(folder, pattern, others)
    columns = ["location_id", "view", "path", "member", "file"]
    frame = pd.DataFrame(rows, columns=columns, dtype="str").sort_values("file", kind="stable")
    return frame, dict.fromkeys(place.skipped, "it cannot be read")


def _without_images(folder: Path, pattern: str | None, others: Counter[str]) -> InputError:
    """Report what there is where no image is."""
    if not others:
        return InputError(folder, "the folder is empty", "name a folder with images")
    kind, count = others.most_common(1)[0]
    videos = sum(number for each, number in others.items() if _VIDEO.fullmatch(each))
    if _VIDEO.fullmatch(kind):
        found = "a video" if videos == 1 else f"{videos:,} videos"
        return InputError(folder, f"there is no image in it, but {found}", _FRAMES)
    if pattern is not None and _IMAGE.fullmatch(kind):
        return InputError(folder, f"no file fits {pattern!r}", "correct the pattern, or omit it")
    reason = f"there is no image in it, but {count:,} {kind or 'other'} files"
    return InputError(folder, reason, "name a folder with images")


def _index_of(ids: NDArray[Any], views: NDArray[Any], pattern: str | None) -> pd.Index:
    if pattern is not None and "{view}" in pattern:
        return pd.MultiIndex.from_arrays([ids, views], names=["location_id", "view"])
    index: pd.Index = pd.Index(ids, name="file" if pattern is None else "location_id")
    return index


class Evaluation(Results):
    """The evaluation of a cross-validation, from `evaluate`; it prints, and draws with `plot`.

    All that `Results` reads of a study is there, too: areas, predictions, metrics.

    Attributes
    ----------
    classes : tuple
        The classes from the lowest to the highest; class 1 of the tables is the first.

    Examples
    --------
    >>> result = Evaluation("streetgauge-demo", range(1, 11))  # of a study that has been run
    >>> result.classes
    (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    """

    def __init__(
        self,
        path: str | Path,
        classes: Sequence[Any],
        folder: TemporaryDirectory[str] | None = None,
    ) -> None:
        super().__init__(path)
        self.classes = tuple(classes)
        self._folder = folder  # removed when this object is

    @property
    def table(self) -> pd.DataFrame:
        """Errors of every method on the same areas, by outcome and method.

        ``uses`` says what a method knows; ``mae`` (mean absolute error in classes) has its interval
        in ``mae_low`` and ``mae_high``; ``within_1`` is the share of areas at most one class off.

        Examples
        --------
        >>> table = Evaluation("streetgauge-demo", range(1, 11)).table
        >>> table.columns.tolist()
        ['uses', 'mae', 'mae_low', 'mae_high', 'within_1', 'spearman']
        """
        return self.metrics().methods()

    def __repr__(self) -> str:
        metrics = self.metrics()
        about = f"{len(self.classes)} classes, {metrics['scheme']['description']}"
        table = metrics.methods()
        if not self._several:
            table = table.droplevel("outcome")
        lines = [f"Evaluation of {metrics['areas_tested']:,} areas, {about}", ""]
        lines += [table.to_string(float_format=lambda value: f"{value:.2f}", na_rep="-")]
        share = f"{metrics['interval_level']:.0%} intervals"
        lines += ["", f"mae: mean absolute error in classes, with {share}; lower is better."]
        return "\n".join([*lines, *self._gains(metrics)])

    def _gains(self, metrics: Metrics) -> Iterator[str]:
        """Report how much features add to the best baseline, by outcome and kind of folds."""
        for name, cells in metrics.get("headline", {}).items():
            for kind, cell in cells.items():
                gain = (cell or {}).get("mae") or {}
                if gain.get("value") is not None:
                    where = f"{name}, {kind}" if self._several else kind
                    yield (
                        f"With features mae is lower by {estimate_text(gain)} than by "
                        f"{gain.get('over')} ({where} folds)."
                    )

    def _repr_html_(self) -> str:
        table = self.table.to_html(float_format=lambda value: f"{value:.2f}", na_rep="-")
        return self.metrics()._repr_html_() + table

    @property
    def _several(self) -> bool:
        """Whether there are several outcomes."""
        return len(self.labels) > 1


def evaluate(
    X: ArrayLike | pd.DataFrame,
    y: ArrayLike | pd.Series | pd.DataFrame,
    groups: ArrayLike | pd.Series,
    *,
    coordinates: ArrayLike | pd.DataFrame | gpd.GeoSeries | None = None,
    classes: Sequence[Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    directory: str | Path | None = None,
) -> Evaluation:
    """Cross-validate on features, and compare with what needs no image.

    Whole groups are held out. Their classes are predicted by the usual learner, by plainer ones and
    by the best estimate from features and places together. All are compared with baselines on the
    same folds, with intervals. Where there are coordinates, spatial blocks are held out as well. It
    is what a study does: a study is written, and its stages are run.

    Parameters
    ----------
    X : array [n, features] or [n, views, features], or DataFrame
        Features, as `embed` gives them; rows of one ``location_id`` in the index are its views.
    y : array-like [n], Series or DataFrame
        Classes of the rows, or by group if it is a Series of which the index holds the groups; a
        column for each outcome. All rows of a group are of one class.
    groups : array-like [n] or Series
        The areas that rows are in: none is used both for training and for testing.
    coordinates : array-like [n, 2], DataFrame or GeoSeries, optional
        Latitude and longitude in degrees, as columns ``lat`` and ``lon``, or points.
    classes : sequence, optional
        All classes, from the lowest to the highest; needed where they are texts.
    settings : mapping, optional
        Sections of study.toml, e.g. ``{"folds": {"k": 10}, "train": {"learner": "kernel"}}``.
    directory : str or Path, optional
        Where the study is written; if not given it is removed with the result.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If the arguments do not fit each other, there are fewer groups than folds, or PyTorch is
        not installed.

    Examples
    --------
    >>> import numpy as np, streetgauge
    >>> rng = np.random.default_rng(1)
    >>> areas = np.repeat(np.arange(60), 2)
    >>> y = areas % 3
    >>> X = y[:, None] + rng.normal(0, 0.3, (120, 4))
    >>> quick = {"train": {"learner": "kernel"}, "evaluation": {"draws": 100}}
    >>> result = streetgauge.evaluate(X, y, areas, settings=quick)
    >>> bool(result.table["mae"]["y", "features"] < result.table["mae"]["y", "constant"])
    True
    """
    rows = _rows_of(X)
    labels, scales = _labels(y, groups, rows, classes)
    folder = None
    if directory is None:
        folder = TemporaryDirectory(prefix="streetgauge-")
    place = Path(directory or folder.name)  # type: ignore[union-attr]
    k = _section(settings, "folds").get("k", StudySettings.model_fields["folds"].default.k)
    n_groups = labels["area"].nunique()
    if n_groups < k:
        step = f'use settings={{"folds": {{"k": {n_groups}}}}}' if n_groups > 1 else "give more"
        raise InputError("groups", f"{n_groups} groups leave a fold of {k} empty", step)
    _write_study(place, rows, labels, _positions(coordinates, rows), scales, settings or {})
    from streetgauge.study import Study

    with _torch_needed():
        _run(Study.open(place))
    return Evaluation(place, scales[next(iter(scales))], folder)


def _section(settings: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (settings or {}).get(name, {})
    return found


def _rows_of(X: Any) -> pd.DataFrame:
    """Give the features with a row for each view, by location_id (texts) and in their order."""
    if not isinstance(X, pd.DataFrame):
        array = np.asarray(X)
        if array.ndim not in (2, 3) or not array.size:
            raise InputError("X", f"its shape is {array.shape}", "give [n, features]")
        ids = np.repeat([f"{i:08d}" for i in range(len(array))], array.shape[1:-1] or 1)
        X = pd.DataFrame(array.reshape(-1, array.shape[-1]), ids)
    ids = X.index.get_level_values(0)
    unique = X.index.is_unique and not isinstance(X.index, pd.RangeIndex)
    texts = ids.astype(str) if unique else pd.Index([f"{i:08d}" for i in range(len(X))])
    if X.index.nlevels == 1 and not unique and isinstance(ids[0], str):
        texts = ids  # views of an array, or of locations without names of views
    names = [f"f{i}" for i in range(X.shape[1])]
    frame: pd.DataFrame = X.set_axis(texts.rename("location_id")).set_axis(names, axis=1)
    values = frame.to_numpy(np.float32)
    wrong = ~np.isfinite(values).all(axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"X, row {row}", "it has a value that is not a finite number", "remove the row"
        )
    return frame


def _by_location(values: Any, name: str, rows: pd.DataFrame, groups: pd.Series | None) -> pd.Series:
    """Give one value for each location, from values by row, by location or by group."""
    ids = rows.index
    first = ~ids.duplicated()
    locations = ids[first]
    if isinstance(values, pd.Series) and len(values) != len(ids):
        index = values.index.astype(str)
        if not index.is_unique:
            raise InputError(name, "its index has a value twice", "give one row for each")
        keyed = values.set_axis(index)
        for keys in (locations, None if groups is None else groups.astype(str)):
            if keys is not None and pd.Index(keys).isin(index).all():
                return keyed.reindex(pd.Index(keys)).set_axis(locations)
    n_rows, found = len(ids), len(values)
    if found == n_rows:
        return pd.Series(values).set_axis(ids)[first]
    if found == len(locations):
        return pd.Series(values).set_axis(locations)
    raise InputError(name, f"it has {found:,} values and X {n_rows:,} rows", "give one for each")


def _labels(
    y: Any, groups: Any, rows: pd.DataFrame, classes: Sequence[Any] | None
) -> tuple[pd.DataFrame, dict[str, list[Any]]]:
    """Give area and class number (1 is the lowest) of each location, and the scale by outcome."""
    areas = _by_location(groups, "groups", rows, None)
    if areas.isna().any():
        raise InputError("groups", f"row {int(np.argmax(areas.isna()))} is missing", "fill it")
    table = pd.DataFrame({"area": areas.astype(str)})
    several = y.items() if isinstance(y, pd.DataFrame) else [(getattr(y, "name", None) or "y", y)]
    scales: dict[str, list[Any]] = {}
    for key, values in several:
        name = re.sub(r"\W+", "_", str(key)).strip("_") or "y"
        name = name if name[0].isalpha() else f"y_{name}"
        column = _by_location(values, "y", rows, areas)
        scale = scales[name] = _scale(column, classes)
        code = pd.Index(scale).get_indexer(pd.Index(column))
        if (code[column.notna()] < 0).any():
            wrong = column[column.notna()].tolist()[int(np.argmax(code[column.notna()] < 0))]
            raise InputError("y", f"{wrong!r} is none of classes={scale!r}", "add it")
        table[name] = pd.Series(code + 1, table.index).where(column.notna())
        counts = table.groupby("area")[name].nunique()
        if (counts > 1).any():
            step = "a group is the unit that has a class: give groups of one class each"
            raise InputError(f"group {counts.idxmax()!r}", "its rows have several classes", step)
    return table, scales


def _scale(values: pd.Series, classes: Sequence[Any] | None) -> list[Any]:
    """List the classes from the lowest to the highest."""
    known = values.dropna()
    if classes is not None:
        scale = list(classes)
    elif isinstance(values.dtype, pd.CategoricalDtype) and values.dtype.ordered:
        scale = list(values.dtype.categories)
    elif known.map(lambda value: isinstance(value, str)).any() or values.dtype == "category":
        shown = ", ".join(map(str, known.unique()[:3]))
        raise InputError("y", f"the order of its classes ({shown}, ...) is not known", _CLASSES)
    elif (known.astype(float) % 1 != 0).any():
        step = "cut them into classes first, e.g. y = pandas.qcut(y, 10, labels=False)"
        raise InputError("y", "it holds measured values, not classes", step)
    else:
        scale = list(range(int(known.min()), int(known.max()) + 1)) if len(known) else []
    if not 2 <= len(scale) <= _MOST_CLASSES:
        step = f"give 2 to {_MOST_CLASSES} classes"
        found = "one class" if len(scale) == 1 else f"{len(scale)} classes"
        raise InputError("y", f"it has {found}", step)
    return scale


def _positions(coordinates: Any, rows: pd.DataFrame) -> pd.DataFrame | None:
    """Give latitude and longitude of each location."""
    if coordinates is None:
        return None
    if hasattr(coordinates, "geometry"):
        points = coordinates.geometry
        points = points if points.crs is None else points.to_crs("EPSG:4326")
        lat, lon = points.y, points.x
    elif isinstance(coordinates, pd.DataFrame):
        if not {"lat", "lon"} <= set(coordinates):
            raise InputError("coordinates", "there are no columns 'lat' and 'lon'", "name them so")
        lat, lon = coordinates["lat"], coordinates["lon"]
    else:
        array = np.asarray(coordinates, np.float64)
        if array.ndim != 2 or array.shape[1] != 2:
            raise InputError("coordinates", f"the shape is {array.shape}", "give [n, 2]: lat, lon")
        lat, lon = array.T
    found = {"lat": lat, "lon": lon}
    table = pd.DataFrame({k: _by_location(v, "coordinates", rows, None) for k, v in found.items()})
    if not (table["lat"].abs().max() <= 90 and table["lon"].abs().max() <= 180):
        step = "give latitude and longitude in degrees, or points with a coordinate system"
        raise InputError("coordinates", "they are not degrees", step)
    return table


def _write_study(
    place: Path,
    rows: pd.DataFrame,
    labels: pd.DataFrame,
    positions: pd.DataFrame | None,
    scales: Mapping[str, Sequence[Any]],
    settings: Mapping[str, Any],
) -> None:
    """Write a study of tables: what `evaluate` was given."""
    if (place / "study.toml").exists():
        raise InputError(place, "there is a study in it", "choose another directory")
    from streetgauge.io.files import write_table, write_text

    sizes = {name: len(scale) for name, scale in scales.items()}
    if len(set(sizes.values())) > 1:
        raise InputError("y", f"its columns have {sizes} classes", "give all as many, by classes=")
    data = place / "data"
    data.mkdir(parents=True, exist_ok=True)
    write_table(rows.reset_index(), data / "X.parquet")
    by_area = labels.groupby("area", sort=True)[list(scales)].first().astype("Float64")
    write_table(by_area.reset_index(), data / "y.parquet")
    write_text(by_area.reset_index()[["area"]].to_csv(index=False), data / "groups.csv")
    locations = labels[["area"]] if positions is None else labels[["area"]].join(positions)
    write_table(locations.rename_axis("location_id").reset_index(), data / "locations.parquet")
    table = {"source": "table", "file": "data/y.parquet", "area": "area", "deciles": "published"}
    own: dict[str, Any] = {
        "name": "Evaluation",
        "areas": {"file": "data/groups.csv", "code": "area"},
        "outcomes": {
            name: {**table, "value": name, "decile": name, "direction": "higher-is-better"}
            for name in scales
        },
        "deciles": {"classes": next(iter(sizes.values()))},
        "locations": {"source": "table", "file": "data/locations.parquet"},
        "features": {
            "source": "table", "name": "X", "file": "data/X.parquet", "location_id": "location_id",
            "columns": list(rows.columns),
        },
        "folds": {"final": False},
    }  # fmt: skip
    for section, given in settings.items():
        is_section = isinstance(given, Mapping) and isinstance(own.get(section), dict)
        own[section] = {**own[section], **given} if is_section else given
    write_text("\n".join(_toml(own)) + "\n", place / "study.toml")


def _toml(given: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[str]:
    """Write settings as dotted keys; what JSON has of texts, numbers and lists TOML has too."""
    for name, value in sorted(given.items(), key=lambda item: isinstance(item[1], Mapping)):
        key = (*above, name)
        if isinstance(value, Mapping):
            yield from _toml(value, key)
        elif value is not None:
            text = json.dumps(value, ensure_ascii=False, default=str)
            yield f"{'.'.join(map(json.dumps, key))} = {text}"


def _run(study: Study) -> None:
    from streetgauge.pipeline.run import run_stage
    from streetgauge.study.stages import stages_of

    study.require_files()
    with study.locked():
        for stage in stages_of(study):
            if stage.name != "report":
                run_stage(study, stage.name, silent)


@contextmanager
def _torch_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise missing_torch() from None


def write_map(
    areas: gpd.GeoDataFrame,
    column: str,
    out: str | Path = "map.html",
    *,
    actual: str | None = None,
    interval: tuple[str, str] | None = None,
    classes: int = 10,
    title: str | None = None,
) -> Path:
    """Write an interactive map of anybody's predictions: one page that works offline.

    Parameters
    ----------
    areas : GeoDataFrame
        One row an area, its code as the index; ``name`` and ``district`` are shown if they are
        there.
    column : str
        The predictions: classes, 1 the lowest, or any numbers, which are cut into `classes` classes
        of equal count.
    out : str or Path
        The page.
    actual : str, optional
        Column with the actual classes, or numbers; then the difference is mapped, too.
    interval : (str, str), optional
        Columns with the ends of an interval, in classes.
    classes : int
        How many classes numbers are cut into.
    title : str, optional
        Of the page; the column if not given.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If a column is not there or has no numbers, or ``out`` is some other file.

    Examples
    --------
    >>> import geopandas, shapely, streetgauge, tempfile
    >>> areas = geopandas.GeoDataFrame(
    ...     {"income": [21.5, 34.0]}, index=["A", "B"], crs="EPSG:27700",
    ...     geometry=[shapely.box(0, 0, 9, 9), shapely.box(9, 0, 18, 9)],
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     streetgauge.map(areas, "income", f"{folder}/income.html", classes=2).name
    'income.html'
    """
    from streetgauge.io.files import write_text
    from streetgauge.pipeline.report import refuse_no_map
    from streetgauge.report import ReportData, render_map

    path = Path(out)
    refuse_no_map(path)
    if not hasattr(areas, "geometry") or "geometry" not in areas.columns:
        raise InputError("areas", "it has no column 'geometry'", "give a GeoDataFrame")
    named = [column, *([actual] if actual else []), *(interval or ())]
    numbers = pd.DataFrame({each: _numbers(areas, each) for each in dict.fromkeys(named)})
    given = _are_classes(numbers[column])
    if given:
        classes = max(2, int(numbers.max().max()))
    cut = {e: numbers[e] if given else _cut(numbers[e], classes) for e in [column, actual] if e}
    codes = areas.index.astype(str)
    if not codes.is_unique:
        raise InputError("areas", "its index has a code twice", "set the areas' codes as the index")
    missing = pd.Series(pd.NA, areas.index)
    low, high = (numbers[each] for each in interval) if interval else (missing, missing)
    table = pd.DataFrame(
        {
            "area": codes, "outcome": column, "fold": 0, "n_locations": pd.NA,
            "score": missing if given else numbers[column], "decile": cut[column],
            "low": low, "high": high, "actual_decile": cut[actual] if actual else missing,
        }
    )  # fmt: skip
    own = [each for each in ("name", "district", "geometry") if each in areas.columns]
    data = ReportData(
        name=title or column,
        areas=areas[own].set_axis(codes.rename("area")),
        table=table.reset_index(drop=True),
        metrics={"classes": classes, "outcomes": {column: None}, "scheme": {"caution": ""}},
        provenance={column: {"label": title or column}},
        skips=pd.DataFrame(),
        locations=pd.DataFrame(),
    )
    how = "as given" if given else f"{column} cut into {classes} classes of equal count"
    write_text(render_map(data, f"Classes: {how}, 1 the lowest and {classes} the highest."), path)
    return path


def _numbers(areas: pd.DataFrame, column: str) -> pd.Series:
    if column not in areas.columns:
        from streetgauge.errors import closest

        raise InputError("areas", f"there is no column {column!r}", closest(column, areas.columns))
    values = pd.to_numeric(areas[column], errors="coerce").astype("float64")
    if values.isna().all():
        raise InputError(f"column {column!r}", "it holds no numbers", "choose another")
    return values


def _are_classes(values: pd.Series) -> bool:
    """Whether numbers are classes: whole, from 1, and few."""
    known = values.dropna()
    return bool((known % 1 == 0).all() and known.min() >= 1 and known.max() <= _MOST_CLASSES)


def _cut(values: pd.Series, classes: int) -> pd.Series:
    """Cut numbers into classes of equal count, 1 the lowest; equal numbers by their order."""
    rank = values.rank(method="first")
    part = np.ceil((rank * classes / rank.max()).to_numpy())
    return pd.Series(part, values.index).astype("Int64")
