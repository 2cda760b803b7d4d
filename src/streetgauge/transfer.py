"""A trained model on the pictures of another city."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.files import digest, require_columns, write_table
from streetgauge.progress import Progress, silent
from streetgauge.settings import ImagerySettings
from streetgauge.study import SKIP_COLUMNS

__all__ = ["predict_city"]


def predict_city(
    bundle: Path,
    images: Path,
    locations: Path,
    out: Path,
    *,
    pattern: str = "{location_id}_{view}.jpg",
    progress: Progress = silent,
) -> list[str]:
    """Predict every location of a city from its pictures with a bundle of another.

    Parameters
    ----------
    bundle : Path
        A bundle's directory.
    images : Path
        Folder with the pictures.
    locations : Path
        CSV or Parquet with ``location_id`` and, for areas, ``area``.
    out : Path
        Directory for ``predictions.parquet``, ``areas.parquet``, ``skipped.parquet`` and the
        feature store.
    pattern : str
        File names of the pictures, as in a study.
    progress : Progress
        Told how far the pictures are.

    Returns
    -------
    list of str
        What was done, for the screen.

    Raises
    ------
    InputError
        If the bundle, the table or the pictures cannot be used.

    Notes
    -----
    Deciles of areas are cut within *this* city (its own lowest tenth is decile 1), because no
    model of another city knows where this one's borders lie.
    """
    from streetgauge.areas import aggregate
    from streetgauge.features import FeatureStore, extract_pictures
    from streetgauge.imagery import find_views
    from streetgauge.learn import Bundle

    model = Bundle.load(bundle)
    places = _read_places(locations)
    imagery = ImagerySettings(folder=images, pattern=pattern, views=tuple(model.views))
    views, missing = find_views(imagery, places["location_id"].tolist())
    store_path = out / "features" / f"{model.backbone}.h5"
    unreadable = extract_pictures(
        views,
        sorted(views["location_id"].unique()),
        store_path,
        model.backbone,
        view_names=imagery.views,
        require=imagery.require,
        stamp=digest([views.to_dict("list"), model.backbone]),
        progress=progress,
    )
    store = FeatureStore.open(store_path)
    rows = store.rows(places["location_id"].to_numpy(str))
    places, rows = places[rows >= 0].reset_index(drop=True), rows[rows >= 0]
    if not len(places):
        raise InputError(images, "no location has all its pictures", "see skipped.parquet")
    predictions = model.predict_frame(
        store.features[rows], store.present[rows], places["location_id"].to_numpy(str)
    )
    predictions = predictions.merge(places[["location_id", "area"]], on="location_id", how="left")
    write_table(predictions, out / "predictions.parquet")
    skips = pd.concat([missing, unreadable], ignore_index=True).reindex(columns=list(SKIP_COLUMNS))
    write_table(skips, out / "skipped.parquet")
    lines = [f"{len(places):,} locations predicted, {len(skips):,} pictures left out: {out}"]
    if places["area"].notna().any():
        unknown = pd.array([pd.NA] * len(predictions), dtype="Int64")
        areas = aggregate(predictions.assign(fold=0, actual_decile=unknown))
        write_table(areas, out / "areas.parquet")
        lines.append(f"{areas['area'].nunique():,} areas, deciles cut within this city")
    return lines


def _read_places(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise InputError(path, "there is no such file", "give a CSV or Parquet with location_id")
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str)
    require_columns(frame, {"location_id": "location_id"}, path)
    frame = frame.astype({"location_id": "str"})
    twice = frame.loc[frame["location_id"].duplicated(), "location_id"]
    if len(twice):
        raise InputError(path, f"location_id {twice.iloc[0]!r} is there twice", "keep one row each")
    if "area" not in frame:
        frame["area"] = None
    return frame.sort_values("location_id", ignore_index=True)
