"""A trained model elsewhere: found, exported, and used on the pictures of another city."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import ValidationError

from streetgauge.errors import InputError
from streetgauge.files import digest, read_metadata, require_columns, sha256_of, write_table
from streetgauge.progress import Progress, silent
from streetgauge.settings import ImagerySettings
from streetgauge.skips import SKIP_COLUMNS, left_out
from streetgauge.tables import as_table, forget_sheets, read_sheets

if TYPE_CHECKING:
    from streetgauge.features import FeatureStore
    from streetgauge.learn import Bundle
    from streetgauge.study import Study

__all__ = [
    "compare_with",
    "export_bundle",
    "import_file",
    "known_areas",
    "open_bundle",
    "predict_city",
]

LEARNED = ("training", "validation")
FEWEST = 10  # areas, to say what areas look like
# Of metrics.json: what a reader of the bundle wants to know of each outcome.
_OF_ALL = ("coverage", "draws", "folds", "scheme", "rule", "classes")
_OF_EACH = ("n_areas", "n_locations", "metrics", "baselines", "pictures_add")


def open_bundle(name: str | Path) -> tuple[Bundle, list[str]]:
    """Open a bundle by its directory, by the study that made it, or by its address.

    Parameters
    ----------
    name : str or Path
        A bundle's directory; a study's, whose bundle ``model/all`` is then taken; or
        ``hf://user/name@revision``.

    Returns
    -------
    Bundle
    list of str
        What was taken, if that is not plain from the name.

    Raises
    ------
    InputError
        If there is no bundle there, or it cannot be used.
    """
    from streetgauge.learn import Bundle

    if str(name).startswith("hf://"):
        from streetgauge.learn.hub import from_hub

        place = from_hub(str(name))
        return Bundle.load(place), [f"{name}: commit {place.name}"]
    directory = Path(name)
    if (directory / "bundle.json").exists():
        return Bundle.load(directory), []
    for inner in (directory / "model", directory):
        if (inner / "all" / "bundle.json").exists():
            return Bundle.load(inner / "all"), [f"{inner / 'all'}: the model of all areas"]
        if parts := sorted(file.parent for file in inner.glob("*/bundle.json")):
            raise InputError(
                directory,
                "it has no model that learned from all areas",
                f"name the one you want: {', '.join(map(str, parts[:6]))}",
            )
    return Bundle.load(directory), []  # which says what is missing


def export_bundle(
    study: Study, out: Path, *, licence: str | None = None, force: bool = False
) -> list[str]:
    """Copy the model that learned from all of a study's data, for use elsewhere.

    Parameters
    ----------
    study : Study
        Trained.
    out : Path
        The bundle's directory.
    licence : str, optional
        What allows its use (SPDX).
    force : bool
        Write over a bundle that is there.

    Returns
    -------
    list of str
        What was done, for the screen.

    Raises
    ------
    InputError
        If the study is not trained, or is out of date, or `out` is there.
    """
    from streetgauge.learn import Bundle
    from streetgauge.stages import require_fresh

    require_fresh(study, "train")
    if out.exists() and not (force and (out / "bundle.json").is_file()):
        _refuse_there(out, (out / "bundle.json").is_file())
    if not (study.model / "all" / "bundle.json").is_file():
        raise InputError(
            study.directory, "no network learned from all areas", "set folds.final = true"
        )
    bundle, lines = Bundle.load(study.model / "all"), [f"Wrote {out}."]
    # Outcomes may have got other labels since they were learned.
    bundle = replace(bundle, source={**bundle.source, "outcomes": read_metadata(study.outcomes)})
    try:
        require_fresh(study, "areas")
        metrics = headline(json.loads(study.metrics.read_text(encoding="utf-8")))
    except InputError:
        metrics = None
        lines.append("Its card has no test figures, since `areas` has not been done.")
    if metrics is not None and not metrics["outcomes"]:
        metrics = None
        lines.append("Its card has no test figures, since nothing was tested.")
    licence_of_it = licence or bundle.licence
    looks = _familiar(study)
    replace(bundle, metrics=metrics, licence=licence_of_it, familiar=looks).save(out)
    if not licence:
        lines.append("Its card names no licence: give one with --licence.")
    return lines


def export_features(
    source: Path, out: Path, form: str, *, force: bool = False, progress: Progress = silent
) -> list[str]:
    """Copy a study's features, or a feature store, as Zarr or Parquet; see `export_store`.

    Raises
    ------
    InputError
        If there are no features, the format is not known, or something is at ``out``.
    """
    from streetgauge.features import FeatureStore, export_store
    from streetgauge.study import Study

    if form not in ("zarr", "parquet"):
        raise InputError(f"--features {form}", "it is no format", "there are zarr, parquet")
    path = source if source.suffix == ".h5" else Study.open(source).features
    store = FeatureStore.open(path)
    kind: Any = form
    return export_store(store, out, kind, force=force, progress=progress)


def _familiar(study: Study) -> dict[str, Any] | None:
    """Say what the areas look like that the exported model learned from."""
    from streetgauge.areas import Familiar
    from streetgauge.stages.area_features import feature_table

    if not study.area_features.is_file():
        return None
    splits = pd.read_parquet(study.splits, columns=["area", "split", "part"])
    learned = splits.loc[(splits["split"] == "all") & splits["part"].isin(LEARNED), "area"]
    features = feature_table(pd.read_parquet(study.area_features)).sort_index()
    known = features[features.index.isin(learned)]
    return Familiar.of(known.to_numpy()).arrays() if len(known) >= FEWEST else None


def compare_with(bundle: Bundle, store: FeatureStore) -> list[str]:
    """Refuse a store that a bundle does not fit; say what is different but can be used.

    Engines in float32 agree to six digits. Other precisions are rounded, so they are said.
    """
    notes = bundle.compare(
        store.path,
        dimension=store.features.shape[2],
        backbone=store.backbone,
        weights_sha256=store.attributes.get("weights_sha256", ""),
        transform=store.attributes.get("transform", ""),
        views=store.views,
    )
    here = store.attributes.get("precision") or "float32"
    there = str(bundle.source.get("precision") or "float32")
    if here != there:
        cosines = (about.get("cosine") or 1 for about in (store.attributes, bundle.source))
        notes.append(
            f"features in {here} here, in {there} where the bundle learned: "
            f"cosine to float32 {min(map(float, cosines)):.4f}"
        )
    return notes


def known_areas(learned: frozenset[str] | None, areas: Iterable[object]) -> list[str]:
    """Say how many of these areas a bundle learned from, by their codes; nothing if none.

    Parameters
    ----------
    learned : frozenset of str or None
        Of the bundle, see `Bundle`; None if it does not say.
    areas : iterable of str
        Codes, in any order and as often as they come.
    """
    from streetgauge.learn.bundle import marks_of

    marks = marks_of(areas)
    both = len(marks & (learned or frozenset()))
    if not both:
        return []
    return [
        f"{both:,} of {len(marks):,} areas have the codes of areas that the bundle learned from: "
        "if they are these, figures of them flatter it"
    ]


def headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a bundle keeps of ``metrics.json``: figures with intervals, and the baselines."""
    kept = {key: metrics[key] for key in _OF_ALL if key in metrics}
    each = {
        name: {key: about[key] for key in _OF_EACH if key in about}
        for name, about in metrics["outcomes"].items()
    }
    return kept | {"outcomes": each}


def import_file(
    file: Path,
    out: Path,
    *,
    outcome: str | None = None,
    label: str | None = None,
    place: str | None = None,
    licence: str | None = None,
    force: bool = False,
) -> list[str]:
    """Convert published weights: the authors' to a bundle, VGG16's to safetensors.

    Parameters
    ----------
    file : Path
        A state dict of PyTorch, or an array file; its first bytes say which.
    out : Path
        The bundle's directory, or the safetensors file.
    outcome, label, place, licence : str, optional
        Of the authors' network; `outcome` is needed.
    force : bool
        Write over what is there, if it is of the same kind.

    Returns
    -------
    list of str
        What was done, for the screen.

    Raises
    ------
    InputError
        If the file holds anything but numbers, or not those of these networks.
    """
    from streetgauge.features.caffe import import_caffe, is_array_file
    from streetgauge.learn.authors import import_authors, read_state

    if not file.is_file():
        what = "this is a folder" if file.is_dir() else "there is no such file"
        raise InputError(file, what, "give the authors' weights (.pth), or VGG16 as .npy")
    backbone = is_array_file(file)
    if backbone and out.suffix != ".safetensors":
        raise InputError(out, "VGG16 becomes one file", "let its name end in .safetensors")
    ours = out.is_file() if backbone else (out / "bundle.json").is_file()
    if out.exists() and not (force and ours):
        _refuse_there(out, ours)
    if backbone:
        return import_caffe(file, out)
    if not outcome or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", outcome):
        read_state(file)  # what holds no weights is refused as such
        raise InputError(
            f"--outcome {outcome or ''}".strip(),
            "the weights do not say what they were trained for",
            "give it as one word of letters and digits, e.g. income",
        )

    bundle = import_authors(file, outcome=outcome, label=label, place=place, licence=licence)
    bundle.save(out)
    return [
        f"Wrote {out}: {outcome} from features of {bundle.backbone} ({bundle.dimension} a view).",
        f"What it is: streetgauge info {out}",
    ]


def _refuse_there(out: Path, ours: bool) -> None:
    """Refuse to write over what is there; ``ours``: whether it is what the command writes."""
    if ours:
        raise InputError(out, "this exists already", "take another name, or use --force")
    what = "this exists and is nothing that this command writes"
    raise InputError(out, what, "take another name")


def predict_city(
    bundle: str | Path,
    images: Path | None,
    locations: Path,
    out: Path,
    *,
    features: Path | None = None,
    pattern: str = "{location_id}_{view}.jpg",
    weights: Path | None = None,
    engine: str = "auto",
    progress: Progress = silent,
) -> list[str]:
    """Predict every location of a city with a bundle of another; no labels are needed.

    Parameters
    ----------
    bundle : str or Path
        See `open_bundle`.
    images : Path, optional
        Folder with the pictures.
    locations : Path
        CSV or Parquet with ``location_id`` and, for areas, ``area``.
    out : Path
        Directory for ``predictions.parquet``, ``areas.parquet``, ``skipped.parquet`` and the
        feature store.
    features : Path, optional
        A feature store that exists already, in the place of pictures.
    pattern : str
        File names of the pictures, as in a study.
    weights : Path, optional
        The backbone's, where the bundle's are not the published ones; of ``onnx``, the network.
    engine : {"auto", "torch", "openvino", "onnxruntime"}
        What computes it, in the precision in which the bundle's features were computed.
    progress : Progress
        Told how far the pictures are.

    Returns
    -------
    list of str
        What was done, for the screen.

    Raises
    ------
    InputError
        If the bundle, the table, the pictures or the store cannot be used.

    Notes
    -----
    Deciles of areas are cut within *this* city (its own lowest tenth is decile 1), because no
    model of another city knows where this one's borders lie.
    """
    from streetgauge.areas import add_disagreement, aggregate
    from streetgauge.features import FeatureStore

    if (images is None) == (features is None):
        raise InputError("predict", "it looks at one thing", "give --images or --features")
    model, lines = open_bundle(bundle)
    places = _read_places(locations)
    if features is not None:
        store, skips = FeatureStore.open(features), pd.DataFrame()
    else:
        assert images is not None
        store, skips = _look(
            *(model, bundle, images, places, out, pattern, weights, engine, progress)
        )
    lines += compare_with(model, store)
    rows = store.rows(places["location_id"].to_numpy(str))
    if features is not None:
        without = places.loc[rows < 0, ["location_id", "area"]]
        skips = without.assign(stage="features", reason="the store has no features of it")
    skips = skips.reindex(columns=list(SKIP_COLUMNS))
    write_table(skips, out / "skipped.parquet")
    places, rows = places[rows >= 0].reset_index(drop=True), rows[rows >= 0]
    if not len(places):
        what = "all its pictures" if features is None else "features there"
        raise InputError(
            images or store.path, f"no location has {what}", f"see {out / 'skipped.parquet'}"
        )
    predictions = model.predict_frame(
        store.features, store.present, places["location_id"].to_numpy(str), rows=rows
    )
    predictions = predictions.merge(places[["location_id", "area"]], on="location_id", how="left")
    (out / "areas.parquet").unlink(missing_ok=True)
    write_table(predictions, out / "predictions.parquet")
    lines += [f"{len(places):,} locations predicted: {out}", *left_out(skips)]
    lines += known_areas(model.learned, places["area"].dropna())
    in_areas = predictions[predictions["area"].notna()]
    if len(in_areas):
        unknown = pd.array([pd.NA] * len(in_areas), dtype="Int64")
        labelled = in_areas.assign(fold=0, actual_decile=unknown)
        areas = aggregate(labelled, classes=model.model.classes)
        areas = add_disagreement(areas, labelled, model.model.classes)
        areas, told = _unlike(areas, model, store, places)
        write_table(areas, out / "areas.parquet")
        lines.append(f"{areas['area'].nunique():,} areas, deciles cut within this city")
        lines += told
    return lines


def _unlike(
    areas: pd.DataFrame, model: Bundle, store: FeatureStore, places: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """Add ``strangeness`` and ``unlike``, if the bundle knows what its own areas look like."""
    if model.familiar is None:
        return areas, []
    from streetgauge.areas import Familiar, is_unlike
    from streetgauge.stages.area_features import feature_table, mean_features

    here = places[places["area"].notna()]
    features = feature_table(mean_features(store, here))
    strange = Familiar.from_arrays(model.familiar).strangeness(features.to_numpy())
    far = pd.Series(is_unlike(strange), index=features.index)
    frame = areas.assign(
        strangeness=areas["area"].map(pd.Series(strange, index=features.index)),
        unlike=areas["area"].map(far).astype("boolean"),
    )
    line = (
        f"{int(far.sum()):,} of {len(far):,} areas ({far.mean():.0%}) are unlike those that the "
        "bundle learned from; at most about 5 % if all were alike"
    )
    return frame, [line]


def _look(
    model: Bundle,
    name: str | Path,
    images: Path,
    places: pd.DataFrame,
    out: Path,
    pattern: str,
    weights: Path | None,
    engine: str,
    progress: Progress,
) -> tuple[FeatureStore, pd.DataFrame]:
    """Extract features of the pictures as the bundle's backbone gives them."""
    from streetgauge.features import (
        BACKBONES,
        Extraction,
        FeatureStore,
        extract_pictures,
        get_backbone,
        settled,
    )
    from streetgauge.imagery import find_views

    family = model.backbone.partition(":")[0]
    if model.backbone not in BACKBONES and family not in ("timm", "open_clip", "onnx"):
        raise InputError(
            name,
            f"its features come from {model.backbone!r}, not from pictures",
            "only a bundle with a backbone can look at pictures; give a store with --features",
        )
    if family == "onnx" and weights is None:
        raise InputError(name, f"it needs the file of {model.backbone}", "give it as --weights")
    backbone = get_backbone("onnx" if family == "onnx" else model.backbone, weights=weights)
    backbone = settled(backbone, progress)
    known = str(model.source.get("weights_sha256") or "")
    if known and known != backbone.sha256:  # said before the pictures are looked at
        raise InputError(
            name,
            f"its features need weights of {model.backbone} with sha256 {known[:12]}, and these "
            f"have {backbone.sha256[:12]}",
            "give the file as --weights",
        )
    imagery = _imagery(images, pattern, tuple(model.views))
    views, missing = find_views(imagery, places["location_id"].tolist())
    store_path = out / "features" / f"{re.sub(r'[:/]', '-', model.backbone)}.h5"
    wanted = Extraction(
        *(views, sorted(views["location_id"].unique()), store_path, backbone),
        view_names=imagery.views,
        require=imagery.require,
        engine=engine,
        precision=str(model.source.get("precision") or "float32"),  # type: ignore[arg-type]
        stamp=digest([_by_content(views), model.backbone]),
    )
    unreadable = extract_pictures(wanted, progress=progress)
    return FeatureStore.open(store_path), pd.concat([missing, unreadable], ignore_index=True)


def _by_content(views: pd.DataFrame) -> list[tuple[str, ...]]:
    """Give location, view and content of every picture: a file of the same name may be another."""
    contents = {path: sha256_of(Path(path)) for path in views["path"].unique()}
    columns = views[["location_id", "view", "path", "member"]].itertuples(index=False)
    return [(location, view, contents[path], member) for location, view, path, member in columns]


def _read_places(path: Path) -> pd.DataFrame:
    """Read location_id and, where it is there, area; both as text, empty areas as None."""
    sheet = read_sheets(path)[0]
    frame = as_table(sheet)
    forget_sheets()
    require_columns(frame, {"location_id": "location_id"}, path)
    ids = frame["location_id"].str.strip()
    if (ids == "").any():
        raise InputError(path, f"row {ids.index[ids == ''][0]} has no location_id", "give it one")
    twice = ids[ids.duplicated()]
    if len(twice):
        raise InputError(path, f"location_id {twice.iloc[0]!r} is there twice", "keep one row each")
    areas = frame["area"].str.strip() if "area" in frame else pd.Series("", index=ids.index)
    places = pd.DataFrame({"location_id": ids, "area": areas.where(areas != "", None)})
    return places.sort_values("location_id", ignore_index=True)


def _imagery(images: Path, pattern: str, views: tuple[str, ...]) -> ImagerySettings:
    try:
        return ImagerySettings(folder=images, pattern=pattern, views=views)
    except ValidationError as error:
        detail = error.errors()[0]
        reason = str(detail.get("ctx", {}).get("error", detail["msg"]))
        raise InputError("--pattern", reason, "e.g. {location_id}_{view}.jpg") from None
