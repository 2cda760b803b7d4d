"""What a file is, in a few facts: studies, feature stores, bundles and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from streetgauge.errors import InputError, summary
from streetgauge.features.store import FeatureStore
from streetgauge.io.files import read_metadata, read_table, sha256_of
from streetgauge.io.formats import BUNDLE_VERSION, read_json, require_version
from streetgauge.markup import estimate_text
from streetgauge.study import Study
from streetgauge.study.stages import stage_named, stages_of

# Of a store's attributes, what is worded otherwise.
_REWORDED = ("views", "dtype")


def file_info(name: str | Path, *, verify: bool = False) -> dict[str, Any]:
    """Show what a study, a feature store, a bundle or a table is.

    Parameters
    ----------
    name : str or Path
        A study's directory or study.toml, a ``.h5`` store, a bundle's directory or its address
        ``hf://user/name@revision``, or a ``.parquet``.
    verify : bool
        Read all numbers of a store, or of a study's store, and compare them with their checksums.

    Returns
    -------
    dict
        Facts in reading order.

    Raises
    ------
    InputError
        If it is not there or none of these, or a number of the store is not as it was written.
    """
    if str(name).startswith("hf://"):
        from streetgauge.model.hub import from_hub

        folder = from_hub(str(name))
        return _bundle_info(folder) | {"bundle": f"{name}: commit {folder.name}"}
    path = Path(name)
    if not path.exists():
        raise InputError(
            path, "there is no such file", "give a study, a store, a bundle or a table"
        )
    if path.suffix == ".toml" or (path / "study.toml").exists():
        return _study_info(path, verify=verify)
    if (path / "bundle.json").exists():
        return _bundle_info(path)
    if path.suffix == ".h5":
        return _store_info(path, verify=verify)
    if path.suffix == ".parquet":
        return _table_info(path)
    raise InputError(
        path,
        "this is not a study, feature store, bundle or streetgauge table",
        "give a directory with study.toml or bundle.json, or a .h5 or .parquet file",
    )


def _study_info(path: Path, *, verify: bool) -> dict[str, Any]:
    study = Study.open(path)
    locations = study.settings.locations
    facts: dict[str, Any] = {
        "study": study.settings.name,
        "directory": str(study.directory),
        "outcomes": ", ".join(study.settings.outcomes),
        "locations": "none" if locations is None else locations.source,
        "features": "; ".join(
            f"{name}: {each.source}" if name else f"{each.source}: {each.store}"
            for name, each in study.settings.sources.items()
        ),
    }
    makers = {name: _maker(entry) for name, entry in study.record.get("stages", {}).items()}
    alike = len(set(makers.values())) == 1
    for stage in stages_of(study):
        facts[f"stage {stage.name}"] = _state(study, stage.name)
        if stage.name in makers and not alike:
            facts[f"{stage.name} made by"] = makers[stage.name]
    if alike:
        facts["made by"] = next(iter(makers.values()))
    if study.outcomes.exists():
        for each in outcomes_info(study.outcomes):
            facts[f"outcome {each['outcome']}"] = _outcome_line(each)
    for path in study.stores if verify else ():
        facts |= _verified(FeatureStore.open(path))
    return facts


def outcomes_info(path: Path) -> list[dict[str, Any]]:
    """Sum up the outcomes of an ``outcomes.parquet``.

    Parameters
    ----------
    path : Path
        The table.

    Returns
    -------
    list of dict
        For every outcome: outcome, label, areas (with value), missing, direction, min, median, max
        (None without values), vintage, of (what the areas of its file are), lookup (how it came
        from other areas, or None).

    Raises
    ------
    InputError
        If it is not a table of outcomes.
    """
    try:
        frame, metadata = read_table(path), read_metadata(path)
        result = []
        columns = [column for column in frame.columns if column.endswith("_value")]
        for column in columns:  # metadata is in the order of names, columns in that of the study
            name = column.removesuffix("_value")
            about, values = metadata[name], frame[column]
            known = values.dropna()
            result.append(
                {
                    "outcome": name,
                    "label": about.get("label") or name,
                    "n_areas": len(known),
                    "n_missing": len(values) - len(known),
                    "direction": about.get("direction"),
                    "min": float(known.min()) if len(known) else None,
                    "median": float(known.median()) if len(known) else None,
                    "max": float(known.max()) if len(known) else None,
                    "vintage": about.get("vintage"),
                    "areas": about.get("areas"),
                    "lookup": about.get("lookup"),
                }
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            path, f"this is not a table of outcomes: {summary(error)}", "make it again with --force"
        ) from None
    return result


def plain_number(value: float) -> str:
    """Write a value as people do: 12,324 and 0.04729.

    Examples
    --------
    >>> [plain_number(value) for value in (12324.0, 0.047291, 35, -5.0834)]
    ['12,324', '0.04729', '35', '-5.083']
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _outcome_line(about: dict[str, Any]) -> str:
    """Write an outcome's summary as one line."""
    numbers = [plain_number(about[key]) for key in ("min", "median", "max") if about["n_areas"]]
    parts = [
        f"{about['n_areas']:,} areas, {about['n_missing']:,} missing",
        str(about["direction"] or "").replace("-", " "),
        f"{' / '.join(numbers)} (min / median / max)" if numbers else "",
        str(about["vintage"] or ""),
        f"carried by {about['lookup']['file']}" if about["lookup"] else "",
    ]
    return "; ".join(part for part in parts if part)


def _state(study: Study, name: str) -> str:
    """Whether a stage is up to date; what it reads may not be there yet."""
    state = study.state(stage_named(name))
    if state == "not done":
        return f"{state}{_interrupted(study)}" if name == "features" else state
    done = study.record["stages"][name]
    if state == "inputs missing":
        return f"done {done['started']}; what it reads is no longer there"
    if state == "inputs unreachable":
        return f"done {done['started']}; what it reads cannot be reached now"
    return f"{state} ({done['started']}): {'; '.join(done['messages'])}"


def _maker(entry: dict[str, Any]) -> str:
    """Name what made a stage's result: versions of this program and of its libraries."""
    by = entry["made_by"]
    parts = [f"streetgauge {by['streetgauge']}", f"python {by['python']} on {by['platform']}"]
    parts += [f"{name} {version}" for name, version in by["versions"].items() if version]
    return ", ".join(parts)


def _interrupted(study: Study) -> str:
    """Count the locations whose features a run that did not end has stored; "" of none."""
    counts = []
    for path in study.stores:
        try:
            store = FeatureStore.open(path)
        except InputError:
            continue
        counts.append((int(store.attempted.sum()), len(store.location_ids)))
    stored, there = (sum(each) for each in zip(*counts, strict=True)) if counts else (0, 0)
    return f", but {stored:,} of {there:,} locations are stored" if stored else ""


def _bundle_info(directory: Path) -> dict[str, Any]:
    """Describe a bundle, from its description alone: weights are hashed, not read."""
    file = directory / "bundle.json"
    try:
        description = read_json(file, "export the bundle again")
        require_version(file, description["format_version"], BUNDLE_VERSION)
        weights = directory / description["weights"]["file"]
        whole = weights.is_file() and sha256_of(weights) == description["weights"]["sha256"]
        facts = _bundle_facts(description)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            file,
            f"this does not describe a bundle ({type(error).__name__}: {summary(error)})",
            "export the bundle again",
        ) from None
    state = "as described" if whole else "missing, or not those that bundle.json describes"
    return {
        "bundle": str(directory),
        **facts,
        "weights": f"{description['weights']['file']}, {state}",
    }


def _bundle_facts(description: dict[str, Any]) -> dict[str, Any]:
    source, training = description["source"], description["training"]
    facts: dict[str, Any] = {
        "format": f"{description['format']} {description['format_version']}",
        "model": description["name"],
        "study": source.get("study") or "not stated",
        "licence": description.get("licence") or "not stated",
    }
    parts = {each["name"]: each for each in source.get("parts") or ()}
    for name, each in (source.get("sources") or {"": source}).items():
        dimension = parts[name]["dimension"] if name else description["dimension"]
        own = _source_facts(each, dimension)
        facts |= {f"{name}: {key}" if name else key: value for key, value in own.items()}
    facts["classes"] = description["classes"]
    if start := source.get("start"):
        facts["started from"] = start
    if imported := source.get("imported"):
        facts["imported from"] = imported
    facts["trained on"] = (
        f"{training['training_locations']:,} locations in {training['training_areas']:,} areas"
        if training
        else "nothing here"
    )
    measured = (description.get("metrics") or {}).get("outcomes", {})
    for outcome in description["outcomes"]:
        facts[f"outcome {outcome}"] = _bundle_outcome(
            source.get("outcomes", {}).get(outcome, {}), measured.get(outcome)
        )
    return facts | {
        "calibration": description["calibration"],
        # What is tuned is shown of what was: of others it is a default that was never used.
        "settings": {k: v for k, v in description["settings"].items() if k != "tune" or start},
        "seed": description["seed"],
        "streetgauge": description["code_version"],
    }


def _source_facts(source: dict[str, Any], dimension: int) -> dict[str, Any]:
    """Describe what one source of features was made with."""
    return {
        "backbone": source.get("backbone") or "not stated",
        "backbone weights": source.get("weights_sha256") or "not stated",
        "transform": source.get("transform") or "not stated",
        "features": dimension,
        "views": ", ".join(map(str, source.get("views") or ())) or "not stated",
    }


def _bundle_outcome(about: dict[str, Any], measured: dict[str, Any] | None) -> str:
    keys = ("label", "publisher", "vintage", "direction", "licence")
    parts = [str(about[key]) for key in keys if about.get(key)]
    for name, words in (("mae", "MAE"), ("spearman", "Spearman")):
        figure = (measured or {}).get("metrics", {}).get(name, {})
        if figure.get("value") is not None:
            parts.append(f"{words} {estimate_text(figure)}")
    return "; ".join(parts) or "nothing is stated of it"


def _verified(store: FeatureStore) -> dict[str, Any]:
    store.verify()
    return {"verified": f"all {store.features.nbytes:,} bytes of features are as written"}


def _store_info(path: Path, *, verify: bool) -> dict[str, Any]:
    store = FeatureStore.open(path)
    n, views, dimension = store.features.shape
    done, attempted = int(store.done.sum()), int(store.attempted.sum())
    return {
        "feature store": str(path),
        "locations": f"{n:,}: {done:,} done, {attempted - done:,} excluded, "
        f"{n - attempted:,} not attempted",
        "views": f"{views}: {', '.join(store.views)}; {int(store.present.sum()):,} are present",
        "features": f"{dimension:,} {store.features.dtype} a view, {store.features.nbytes:,} bytes",
        "shape": f"[{n}, {views}, {dimension}] {store.features.dtype}",
        **(_verified(store) if verify else {}),
        **{name: value for name, value in store.attributes.items() if name not in _REWORDED},
    }


def _table_info(path: Path) -> dict[str, Any]:

    try:
        file = pq.ParquetFile(path)
        metadata = read_metadata(path)
        skips: pd.DataFrame | None = None
        if path.name.startswith("skipped") and {"stage", "reason"} <= set(file.schema_arrow.names):
            skips = read_table(path)[["stage", "reason"]]
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            path, f"this is not a Parquet file: {summary(error)}", "make it again"
        ) from None
    facts: dict[str, Any] = {
        "table": str(path),
        "rows": f"{file.metadata.num_rows:,}",
        "columns": ", ".join(file.schema_arrow.names),
    }
    if skips is not None:
        counts = (skips["stage"].astype(str) + ": " + skips["reason"].astype(str)).value_counts()
        facts |= {str(what): f"{count:,}" for what, count in counts.items()}
    return facts | metadata
