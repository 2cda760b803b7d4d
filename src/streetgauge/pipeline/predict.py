"""A trained model used on the images of another city, of which no labels are needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import ValidationError

from streetgauge.errors import InputError
from streetgauge.io.files import (
    WriteLock,
    digest,
    remove_leftovers,
    sha256_of,
    write_table,
)
from streetgauge.io.tables import as_table, forget_sheets, read_sheets, require_columns
from streetgauge.model.transfer import compare_with, known_areas, open_bundle
from streetgauge.progress import Progress, silent
from streetgauge.settings import ImagerySettings
from streetgauge.skips import SKIP_COLUMNS, left_out

if TYPE_CHECKING:
    from streetgauge.features import FeatureStore
    from streetgauge.model import Bundle

__all__ = ["predict_city"]


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
        Folder with the images.
    locations : Path
        CSV or Parquet with ``location_id`` and, for areas, ``area``; a location without one is
        predicted, and listed in ``skipped.parquet`` if others have one.
    out : Path
        Directory for ``predictions.parquet``, ``areas.parquet``, ``skipped.parquet`` and the
        feature store.
    features : Path, optional
        A feature store that exists already, in the place of images.
    pattern : str
        File names of the images, as in a study.
    weights : Path, optional
        The backbone's, where the bundle's are not the published ones; of ``onnx``, the network.
    engine : {"auto", "torch", "openvino", "onnxruntime"}
        What computes it, in the precision in which the bundle's features were computed.
    progress : Progress
        Told how far the images are.

    Returns
    -------
    list of str
        What was done, for the screen.

    Raises
    ------
    InputError
        If the bundle, the table, the images or the store cannot be used.

    Notes
    -----
    Deciles of areas are cut within *this* city (its own lowest tenth is decile 1), because no
    model of another city knows where this one's borders lie.
    """
    from streetgauge.evaluation import add_disagreement, aggregate
    from streetgauge.features import FeatureStore

    if (images is None) == (features is None):
        raise InputError("predict", "it looks at one thing", "give --images or --features")
    model, lines = open_bundle(bundle)
    places = _read_places(locations)
    if (out / "study.toml").exists():
        raise InputError(out, "this is a study, whose files would be written over", "take another")
    given = None if features is None else FeatureStore.open(features)
    if given is not None:
        compare_with(model, given)
    with WriteLock(out / "predictions.parquet") as lock:
        for name in ("predictions", "areas", "skipped") if lock.held else ():
            remove_leftovers(out / f"{name}.parquet")
        if given is not None:
            store, skips = given, pd.DataFrame()
        else:
            assert images is not None
            store, skips = _look(
                model, bundle, images, places, out, pattern, weights, engine, progress
            )
        lines += compare_with(model, store)
        rows = store.rows(places["location_id"].to_numpy(str))
        if features is not None:
            without = places.loc[rows < 0, ["location_id", "area"]]
            skips = without.assign(stage="features", reason="the store has no features of it")
        skips = _with_strays(skips, places[rows >= 0])
        write_table(skips, out / "skipped.parquet")
        places, rows = places[rows >= 0].reset_index(drop=True), rows[rows >= 0]
        if not len(places):
            what = "all its images" if features is None else "features there"
            raise InputError(
                images or store.path, f"no location has {what}", f"see {out / 'skipped.parquet'}"
            )
        predictions = model.predict_frame(
            store.features, store.present, places["location_id"].to_numpy(str), rows=rows
        )
        predictions = predictions.merge(
            places[["location_id", "area"]], on="location_id", how="left"
        )
        (out / "areas.parquet").unlink(missing_ok=True)
        write_table(predictions, out / "predictions.parquet")
        lines += [f"{len(places):,} locations predicted: {out}", *left_out(skips)]
        lines += known_areas(model.area_hashes, places["area"].dropna())
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


def _with_strays(skips: pd.DataFrame, places: pd.DataFrame) -> pd.DataFrame:
    """Add the locations that are predicted and count in no area, where others have one."""
    lost = places["area"].isna()
    strays = places.loc[lost if not lost.all() else [], ["location_id"]]
    told = strays.assign(stage="areas", reason="predicted, but the table names no area of it")
    parts = [part.reindex(columns=list(SKIP_COLUMNS)) for part in (skips, told) if len(part)]
    empty = pd.DataFrame(columns=list(SKIP_COLUMNS))
    return pd.concat(parts, ignore_index=True) if parts else empty


def _unlike(
    areas: pd.DataFrame, model: Bundle, store: FeatureStore, places: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """Add ``dissimilarity_index`` and ``outside_aoa``, if the bundle knows its areas."""
    if model.area_of_applicability is None:
        return areas, []
    from streetgauge.evaluation import AreaOfApplicability, is_outside_aoa
    from streetgauge.features.area_means import feature_table, mean_features

    here = places[places["area"].notna()]
    features = feature_table(mean_features(store, here))
    strange = AreaOfApplicability.from_arrays(model.area_of_applicability).dissimilarity_index(
        features.to_numpy()
    )
    far = pd.Series(is_outside_aoa(strange), index=features.index)
    frame = areas.assign(
        dissimilarity_index=areas["area"].map(pd.Series(strange, index=features.index)),
        outside_aoa=areas["area"].map(far).astype("boolean"),
    )
    line = (
        f"{int(far.sum()):,} of {len(far):,} areas ({far.mean():.0%}) are outside the "
        "training distribution of the bundle; at most about 5 % if all were alike"
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
    """Extract features of the images as the bundle's backbone gives them."""
    from streetgauge.features import (
        BACKBONES,
        Extraction,
        FeatureStore,
        extract_features,
        get_backbone,
        resolve_checksum,
    )
    from streetgauge.imagery import find_views

    family = model.backbone.partition(":")[0]
    if model.backbone not in BACKBONES and family not in ("timm", "open_clip", "onnx"):
        raise InputError(
            name,
            f"its features come from {model.backbone!r}, not from images",
            "only a bundle with a backbone can look at images; give a store with --features",
        )
    if family == "onnx" and weights is None:
        raise InputError(name, f"it needs the file of {model.backbone}", "give it as --weights")
    backbone = get_backbone("onnx" if family == "onnx" else model.backbone, weights=weights)
    backbone = resolve_checksum(backbone, progress)
    known = str(model.source.get("weights_sha256") or "")
    if known and known != backbone.sha256:  # said before the images are looked at
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
        views,
        sorted(views["location_id"].unique()),
        store_path,
        backbone,
        view_names=imagery.views,
        require=imagery.require,
        engine=engine,
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
