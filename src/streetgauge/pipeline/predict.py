"""A trained model used on the images of another city, of which no labels are needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from streetgauge.errors import InputError
from streetgauge.evaluation import (
    AreaOfApplicability,
    add_disagreement,
    aggregate,
    classes_between,
    is_outside_aoa,
)
from streetgauge.evaluation.best import AreaKnowledge
from streetgauge.evaluation.intervals import intervals_elsewhere
from streetgauge.features.area_means import feature_table
from streetgauge.features.joint import JointStore, area_means
from streetgauge.features.store import FeatureStore
from streetgauge.imagery import find_views
from streetgauge.io.files import (
    WriteLock,
    companions,
    digest,
    remove_leftovers,
    sha256_of,
    write_table,
)
from streetgauge.io.tables import (
    as_table,
    forget_sheets,
    read_sheets,
    refuse_repeated,
    require_columns,
)
from streetgauge.model.transfer import compare_with, join_city, known_areas, open_bundle
from streetgauge.pipeline.predict_best import add_best, placements_of, read_labels
from streetgauge.pipeline.predict_pages import (
    PAGES,
    areas_of_city,
    is_own_page,
    predicted_city,
    write_pages,
)
from streetgauge.processes import undivided_products
from streetgauge.progress import Progress, silent
from streetgauge.settings import AreaSettings, ImagerySettings
from streetgauge.skips import SKIP_COLUMNS, counted, describe_skips
from streetgauge.study.outputs import refuse_overlap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from streetgauge.model import Bundle

    CutPoints = Mapping[str, Sequence[float]]


AREAS_A_CLASS = 5  # with fewer, the classes of one city are mostly chance
# What each file has: by it a streetgauge file is recognised among others of that name.
OWN_COLUMNS = {
    "areas": {"area", "outcome", "score", "decile"},
    "skipped": {"location_id", "stage", "reason"},
    "predictions": {"location_id", "outcome", "score", "decile"},
}
OWN_FILES = (*(f"{each}.parquet" for each in OWN_COLUMNS), *PAGES)


@dataclass(frozen=True)
class CityImages:
    """Images of a city, and how their features are computed.

    Parameters
    ----------
    folder : Path
        Where they are.
    pattern : str
        Their file names, as in a study.
    weights : Path, optional
        The backbone's, where the bundle's are not the published ones; of ``onnx``, the network.
    engine : {"auto", "torch", "openvino", "onnxruntime"}
        What computes it, in the precision in which the bundle's features were computed.
    """

    folder: Path
    pattern: str = "{location_id}_{view}.jpg"
    weights: Path | None = None
    engine: str = "auto"


@undivided_products()
def predict_city(
    bundle: str | Path,
    source: CityImages | Path | Mapping[str, Path],
    locations: Path,
    out: Path,
    *,
    boundaries: AreaSettings | None = None,
    labels: Path | None = None,
    cut: Literal["source", "here"] = "source",
    force: bool = False,
    progress: Progress = silent,
) -> list[str]:
    """Predict every location of a city with a bundle of another; no labels are needed.

    Parameters
    ----------
    bundle : str or Path
        See `open_bundle`.
    source : CityImages or Path, or mapping of name to Path
        Images, or a feature store that exists already; for a bundle of several sources a store for
        each. What is absent of these is reported, and the rest is used, if the bundle was trained
        with source dropout.
    locations : Path
        CSV or Parquet with ``location_id`` and, for areas, ``area``; a location without one is
        predicted, and listed in ``skipped.parquet`` if others have one. ``lat`` and ``lon``, if
        they are there, show where areas lie.
    out : Path
        Directory for ``predictions.parquet``, ``areas.parquet``, ``skipped.parquet``,
        ``report.html``, ``map.html`` and the feature store.
    boundaries : AreaSettings, optional
        The boundary file of the areas, for the map, and for where they lie.
    labels : Path, optional
        CSV or Parquet with ``area`` and ``<outcome>_decile`` of areas whose decile is known: gives
        the best estimate, see `streetgauge.pipeline.predict_best.add_best`.
    cut : {"source", "here"}
        Whose classes an area's is one of: those of the city that the bundle comes from, or those of
        this one, in parts of equal count.
    force : bool
        Replace what an earlier run wrote to ``out``.
    progress : Progress
        Reports how far the images are.

    Returns
    -------
    list of str
        What was done, for the screen.

    Raises
    ------
    InputError
        If the bundle, the table, the images or the store cannot be used, an earlier run has
        written to ``out``, the bundle has no cut points, areas are too few to be cut here, or the
        labels are of none of the outcomes, or no classes.

    Notes
    -----
    An area's class is the one that its mean score had in the bundle's own city, by the predictions
    of areas that were held out there: it does not depend on which other areas are predicted.
    """
    model, lines = open_bundle(bundle)
    city = _read_locations(locations)
    if (out / "study.toml").exists():
        raise InputError(out, "this is a study, whose files would be overwritten", "choose another")
    store_file = out / "features" / f"{re.sub(r'[:/]', '-', model.backbone)}.h5"
    outputs = [store_file, *(out / name for name in OWN_FILES)]
    refuse_overlap(_inputs(bundle, source, locations, boundaries, labels), outputs)
    _refuse_there(out, force)
    known = None if labels is None else read_labels(labels, model.outcomes, model.model.classes)
    scale = _Scale.of(bundle, model) if city["area"].notna().any() else _Scale()
    if cut == "here":
        _refuse_few(city["area"].nunique(), model.model.classes)
        scale = replace(scale, cut_points=None)
    elif city["area"].notna().any() and scale.cut_points is None:
        _refuse_without_scale(bundle)
    borders = scale.cut_points
    drawn = areas_of_city(city["area"].dropna().unique().tolist(), boundaries)
    given, notes = _open_given(bundle, model, source, out)
    with WriteLock(out / "predictions.parquet") as lock:
        _refuse_there(out, force)  # another run may have ended meanwhile
        for file in (out / name for name in OWN_FILES):
            if lock.held:
                remove_leftovers(file)
            file.unlink(missing_ok=True)
        store: FeatureStore | JointStore
        if given is None:
            assert isinstance(source, CityImages)
            store, skips = _extract(model, bundle, source, city, store_file, progress)
            notes = compare_with(model, store)
        else:
            store, skips = given, pd.DataFrame()
        rows = store.rows(city["location_id"].to_numpy(str))
        if given is not None:
            without = city.loc[rows < 0, ["location_id", "area"]]
            skips = without.assign(stage="features", reason="the store has no features of it")
        skips = _with_strays(skips, city[rows >= 0])
        write_table(skips, out / "skipped.parquet")
        city, rows = city[rows >= 0].reset_index(drop=True), rows[rows >= 0]
        if not len(city):
            what = "features there" if given is not None else "all its images"
            folder = source.folder if isinstance(source, CityImages) else "--features"
            raise InputError(folder, f"no location has {what}", f"see {out / 'skipped.parquet'}")
        predictions = model.predict_frame(
            store.features, store.present, city["location_id"].to_numpy(str), rows=rows
        )
        predictions = predictions.merge(city[["location_id", "area"]], on="location_id", how="left")
        notes += known_areas(model.area_hashes, city["area"].dropna())
        lines += [f"{len(city):,} locations predicted: {out}", *describe_skips(skips), *notes]
        areas = _areas(predictions, scale, model.model.classes)
        if len(areas):
            here = city[city["area"].notna()]
            features = feature_table(area_means(store, here)[0])
            areas, applicability = _add_applicability(areas, model, features)
            where = "within this city" if borders is None else "on the scale of the bundle's city"
            lines.append(f"{areas['area'].nunique():,} areas, deciles cut {where}")
            lines += [*_deciles_in_words(areas, model), *applicability]
            if "low" in areas:
                lines.append(
                    f"intervals of {scale.interval_level:.0%} come from areas held out in the "
                    "bundle's city, and hold as far as this city resembles it"
                )
            if known is not None:
                areas, found = add_best(
                    areas,
                    known,
                    AreaKnowledge(
                        pd.Index(sorted(features.index)),
                        features,
                        placements=placements_of(drawn, here),
                    ),
                    classes=model.model.classes,
                    interval_level=scale.interval_level,
                )
                lines += found
                notes += found
            write_table(areas, out / "areas.parquet")
        if boundaries is not None and (lost := len(set(areas["area"]) - set(drawn.index))):
            notes.append(f"{counted(lost, 'area')} not on the map: the boundaries lack the code")
            lines.append(notes[-1])
        shown = predicted_city(
            model,
            {"locations": city, "areas": drawn, "table": areas, "skips": skips},
            name=out.resolve().name,
            bundle_name=_name_of(bundle),
            cut_points=borders,
            notes=notes,
        )
        lines += write_pages(shown, out)
        # Last: where it is, a run has ended, and one that was killed goes on without --force.
        write_table(predictions, out / "predictions.parquet", compact=True)
        return lines


def _open_given(
    bundle: str | Path,
    model: Bundle,
    source: CityImages | Path | Mapping[str, Path],
    out: Path,
) -> tuple[FeatureStore | JointStore | None, list[str]]:
    """Open the features that are given, as the bundle knows them; None of images."""
    if model.parts:
        files = source if isinstance(source, Mapping) else {}
        return join_city(bundle, model, files, out / "features")
    if isinstance(source, CityImages):
        return None, []
    if isinstance(source, Mapping):
        if len(source) != 1:
            reason = "it was trained on one source of features"
            raise InputError(bundle, reason, "give its store alone: --features FILE")
        (source,) = source.values()
    store = FeatureStore.open(source)
    notes = compare_with(model, store)
    store.verify()
    return store, notes


def _name_of(bundle: str | Path) -> str:
    """Name a bundle as its page does: the page is shown to others, who need no path."""
    return str(bundle) if str(bundle).startswith("hf://") else Path(bundle).resolve().name


@dataclass(frozen=True)
class _Scale:
    """What the bundle's own city shows of scores: the classes between them, and their errors."""

    cut_points: CutPoints | None = None
    held_out: Mapping[str, NDArray[np.float64]] | None = None
    interval_level: float = 0.9

    @classmethod
    def of(cls, name: str | Path, model: Bundle) -> Self:
        """Take it from the bundle, or from the study that it lies in."""
        from streetgauge.pipeline.export import study_scale
        from streetgauge.study import Study

        if model.cut_points is not None or str(name).startswith("hf://"):
            level = (model.metrics or {}).get("interval_level", cls.interval_level)
            return cls(model.cut_points, model.held_out, float(level))
        place = Path(name).resolve()
        for folder in (place, place.parent, place.parent.parent):
            if (folder / "study.toml").is_file():
                study = Study.open(folder)
                found = study_scale(study, model.outcomes)
                level = study.settings.evaluation.interval_level
                return cls() if found is None else cls(*found, level)
        return cls()


def _areas(predictions: pd.DataFrame, scale: _Scale, classes: int) -> pd.DataFrame:
    """Give every area of the city its class and its spread; none where locations have no area."""
    in_areas = predictions[predictions["area"].notna()]
    unknown = pd.array([pd.NA] * len(in_areas), dtype="Int64")
    labelled = in_areas.assign(fold=0, actual_decile=unknown)
    areas = aggregate(labelled, classes=classes)
    if scale.cut_points is not None:
        areas["decile"] = _deciles(areas, scale.cut_points)
    elif len(areas):
        _refuse_few(areas["area"].nunique(), classes)
    if scale.held_out is not None and len(areas):
        own_scale = scale.cut_points is None
        areas = intervals_elsewhere(
            areas, scale.held_out, scale.interval_level, classes, own_scale=own_scale
        )
    return add_disagreement(areas, labelled, classes)


def _deciles_in_words(areas: pd.DataFrame, model: Bundle) -> list[str]:
    """Count each outcome's areas in every class, from the worst off."""
    classes = model.model.classes
    about = model.source.get("outcomes") or {}
    counts = areas.groupby(["outcome", "decile"]).size()
    scale = f"areas in {'decile' if classes == 10 else 'class'} 1 (worst off) to {classes}"
    return [
        f"{about.get(name, {}).get('label') or name}: {scale}: "
        + ", ".join(str(counts.get((name, k), 0)) for k in range(1, classes + 1))
        for name in model.outcomes
    ]


def _inputs(
    bundle: str | Path,
    source: CityImages | Path | Mapping[str, Path],
    locations: Path,
    boundaries: AreaSettings | None,
    labels: Path | None,
) -> Iterator[tuple[str, Path]]:
    """Give everything that is read, by the option that names it."""
    yield "--locations", locations
    if labels is not None:
        yield "--labels", labels
    if boundaries is not None and boundaries.file is not None:
        yield "--boundaries", boundaries.file
    if isinstance(source, CityImages):
        yield "--images", source.folder
        if source.weights is not None:
            yield "--weights", source.weights
            yield from (("--weights", path) for path in companions(source.weights))
    elif isinstance(source, Mapping):
        yield from (("--features", path) for path in source.values())
    else:
        yield "--features", source
    if not str(bundle).startswith("hf://"):
        place = Path(bundle)
        own = (place, place / "model", place / "all")
        yield "BUNDLE", next((each for each in own if (each / "bundle.json").is_file()), own[1])


def _refuse_there(out: Path, force: bool) -> None:
    """Refuse to write over what streetgauge did not write, or unasked over an earlier run."""
    for name in OWN_FILES:
        file = out / name
        if not file.exists():
            continue
        if not _is_own(file):
            what = "this exists and is nothing that this command writes"
            raise InputError(file, what, "choose another name with --out")
        if name == "predictions.parquet" and not force:
            step = "choose another name with --out, or use --force"
            raise InputError(file, "an earlier run wrote this", step)


def _is_own(file: Path) -> bool:
    """Whether this command wrote a file, by its columns or by the head of its page."""
    try:
        if file.name in PAGES:
            return is_own_page(file)
        return OWN_COLUMNS[file.stem] <= set(pq.read_schema(file).names)
    except (OSError, pa.ArrowInvalid):
        return False


def _refuse_without_scale(name: str | Path) -> None:
    raise InputError(
        name,
        "it does not state between which scores the classes of its own city's areas lie",
        "export it again from its study, use --cut here, or remove `area` from the table",
    )


def _refuse_few(count: int, classes: int) -> None:
    if count < AREAS_A_CLASS * classes:
        raise InputError(
            "--cut here",
            f"{count:,} areas are too few for {classes} classes of {AREAS_A_CLASS} or more each",
            "omit it: classes are then those of the bundle's city",
        )


def _deciles(areas: pd.DataFrame, borders: CutPoints) -> pd.Series:
    """Give each area the class that its score had in the bundle's city."""
    decile = pd.Series(0, areas.index, dtype="Int64")
    for outcome, rows in areas.groupby("outcome"):
        decile[rows.index] = classes_between(rows["score"], borders[str(outcome)])
    return decile


def _with_strays(skips: pd.DataFrame, city: pd.DataFrame) -> pd.DataFrame:
    """Add the locations that are predicted and count in no area, where others have one."""
    lost = city["area"].isna()
    strays = city.loc[lost if not lost.all() else [], ["location_id"]]
    unplaced = strays.assign(stage="areas", reason="predicted, but the table names no area of it")
    parts = [part.reindex(columns=list(SKIP_COLUMNS)) for part in (skips, unplaced) if len(part)]
    empty = pd.DataFrame(columns=list(SKIP_COLUMNS))
    return pd.concat(parts, ignore_index=True) if parts else empty


def _add_applicability(
    areas: pd.DataFrame, model: Bundle, features: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """Add ``dissimilarity_index`` and ``outside_aoa``, if the bundle knows its areas."""
    if model.area_of_applicability is None:
        return areas, []
    known = len(model.area_of_applicability["mean"])
    if features.shape[1] != known:  # of several sources, one is absent
        return areas, ["whether areas are like those of training is not known without all sources"]

    index = AreaOfApplicability.from_arrays(model.area_of_applicability).dissimilarity_index(
        features.to_numpy()
    )
    far = pd.Series(is_outside_aoa(index), index=features.index)
    frame = areas.assign(
        dissimilarity_index=areas["area"].map(pd.Series(index, index=features.index)),
        outside_aoa=areas["area"].map(far).astype("boolean"),
    )
    line = (
        f"{int(far.sum()):,} of {len(far):,} areas ({far.mean():.0%}) "
        f"{'is' if far.sum() == 1 else 'are'} outside the training distribution of the bundle; "
        "up to about 5% is usual"
    )
    return frame, [line]


def _extract(
    model: Bundle,
    name: str | Path,
    images: CityImages,
    city: pd.DataFrame,
    store_path: Path,
    progress: Progress,
) -> tuple[FeatureStore, pd.DataFrame]:
    """Extract features of the images as the bundle's backbone gives them."""
    from streetgauge.features import (
        BACKBONES,
        Extraction,
        extract_features,
        get_backbone,
        resolve_checksum,
    )

    family = model.backbone.partition(":")[0]
    if model.backbone not in BACKBONES and family not in ("timm", "open_clip", "onnx"):
        raise InputError(
            name,
            f"its features come from {model.backbone!r}, not from images",
            "only a bundle with a backbone can read images; give a store with --features",
        )
    if family == "onnx" and images.weights is None:
        raise InputError(name, f"it needs the file of {model.backbone}", "give it as --weights")
    backbone = get_backbone("onnx" if family == "onnx" else model.backbone, weights=images.weights)
    backbone = resolve_checksum(backbone, progress)
    known = str(model.source.get("weights_sha256") or "")
    if known and known != backbone.sha256:  # before any image is read
        raise InputError(
            name,
            f"its features need weights of {model.backbone} with sha256 {known[:12]}, and these "
            f"have {backbone.sha256[:12]}",
            "give the file as --weights",
        )
    imagery = _imagery(images, tuple(model.views))
    views, missing = find_views(imagery, city["location_id"].tolist())
    wanted = Extraction(
        views,
        sorted(views["location_id"].unique()),
        store_path,
        backbone,
        view_names=imagery.views,
        require=imagery.require,
        engine=images.engine,
        precision=str(model.source.get("precision") or "float32"),  # type: ignore[arg-type]
        cache_key=digest([_by_content(views), model.backbone]),
    )
    unreadable = extract_features(wanted, progress=progress)
    return FeatureStore.open(store_path), pd.concat([missing, unreadable], ignore_index=True)


def _by_content(views: pd.DataFrame) -> list[tuple[str, ...]]:
    """Give location, view and content of every image: a file of the same name may be another."""
    contents = {path: sha256_of(Path(path)) for path in views["path"].unique()}
    columns = views[["location_id", "view", "path", "member"]].itertuples(index=False)
    return [(location, view, contents[path], member) for location, view, path, member in columns]


def _read_locations(path: Path) -> pd.DataFrame:
    """Read location_id and, where they are there, area (no area is None), lat and lon."""
    sheet = read_sheets(path)[0]
    frame = as_table(sheet)
    forget_sheets()
    require_columns(frame, {"location_id": "location_id"}, path)
    ids = frame["location_id"].str.strip()
    if (ids == "").any():
        raise InputError(path, f"row {ids.index[ids == ''][0]} has no location_id", "give it one")
    refuse_repeated(ids, path, "location_id")
    areas = frame["area"].str.strip() if "area" in frame else pd.Series("", index=ids.index)
    city = pd.DataFrame({"location_id": ids, "area": areas.where(areas != "", None)})
    if {"lat", "lon"} <= set(frame):
        city = city.assign(**{n: pd.to_numeric(frame[n], "coerce") for n in ("lat", "lon")})
    return city.sort_values("location_id", ignore_index=True)


def _imagery(images: CityImages, views: tuple[str, ...]) -> ImagerySettings:
    try:
        return ImagerySettings(folder=images.folder, pattern=images.pattern, views=views)
    except ValidationError as error:
        detail = error.errors()[0]
        reason = str(detail.get("ctx", {}).get("error", detail["msg"]))
        raise InputError("--pattern", reason, "e.g. {location_id}_{view}.jpg") from None
