"""A trained model on the pictures of another city."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from streetgauge.errors import InputError
from streetgauge.files import digest, require_columns, sha256_of, write_table
from streetgauge.progress import Progress, silent
from streetgauge.settings import ImagerySettings
from streetgauge.skips import SKIP_COLUMNS, left_out
from streetgauge.tables import as_table, forget_sheets, read_sheets

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
    from streetgauge.features import BACKBONES, FeatureStore, extract_pictures
    from streetgauge.imagery import find_views
    from streetgauge.learn import Bundle

    model = Bundle.load(bundle)
    places = _read_places(locations)
    if model.backbone not in BACKBONES:
        raise InputError(
            bundle,
            f"its features come from {model.backbone!r}, not from pictures",
            "only a bundle with a backbone can look at pictures",
        )
    imagery = _imagery(images, pattern, tuple(model.views))
    views, missing = find_views(imagery, places["location_id"].tolist())
    store_path = out / "features" / f"{model.backbone}.h5"
    unreadable = extract_pictures(
        views,
        sorted(views["location_id"].unique()),
        store_path,
        model.backbone,
        view_names=imagery.views,
        require=imagery.require,
        stamp=digest([_by_content(views), model.backbone]),
        progress=progress,
    )
    skips = pd.concat([missing, unreadable], ignore_index=True).reindex(columns=list(SKIP_COLUMNS))
    write_table(skips, out / "skipped.parquet")
    store = FeatureStore.open(store_path)
    rows = store.rows(places["location_id"].to_numpy(str))
    places, rows = places[rows >= 0].reset_index(drop=True), rows[rows >= 0]
    if not len(places):
        raise InputError(
            images, "no location has all its pictures", f"see {out / 'skipped.parquet'}"
        )
    predictions = model.predict_frame(
        store.features[rows], store.present[rows], places["location_id"].to_numpy(str)
    )
    predictions = predictions.merge(places[["location_id", "area"]], on="location_id", how="left")
    (out / "areas.parquet").unlink(missing_ok=True)
    write_table(predictions, out / "predictions.parquet")
    lines = [f"{len(places):,} locations predicted: {out}", *left_out(skips)]
    in_areas = predictions[predictions["area"].notna()]
    if len(in_areas):
        unknown = pd.array([pd.NA] * len(in_areas), dtype="Int64")
        areas = aggregate(in_areas.assign(fold=0, actual_decile=unknown))
        write_table(areas, out / "areas.parquet")
        lines.append(f"{areas['area'].nunique():,} areas, deciles cut within this city")
    return lines


def _by_content(views: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Give location, view and content of every picture: a file of the same name may be another."""
    columns = views[["location_id", "view", "path"]].itertuples(index=False)
    return [(location, view, sha256_of(Path(path))) for location, view, path in columns]


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
