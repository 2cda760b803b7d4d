"""What a file of ours is, in a few facts: studies, feature stores, bundles and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streetgauge.errors import InputError
from streetgauge.study import Study

__all__ = ["describe"]


def describe(path: Path) -> dict[str, Any]:
    """Say what a study, a feature store, a bundle or a table is.

    Parameters
    ----------
    path : Path
        A study's directory or study.toml, a ``.h5`` store, a bundle's directory, or a ``.parquet``.

    Returns
    -------
    dict
        Facts in reading order.

    Raises
    ------
    InputError
        If it is not there or none of these.
    """
    if not path.exists():
        raise InputError(
            path, "there is no such file", "give a study, a store, a bundle or a table"
        )
    if path.suffix == ".toml" or (path / "study.toml").exists():
        return _study(path)
    if (path / "bundle.json").exists():
        return _bundle(path / "bundle.json")
    if path.suffix == ".h5":
        return _store(path)
    if path.suffix == ".parquet":
        return _table(path)
    raise InputError(
        path,
        "this is no study, feature store, bundle or table of ours",
        "give a directory with study.toml or bundle.json, or a .h5 or .parquet file",
    )


def _study(path: Path) -> dict[str, Any]:
    from streetgauge.stages import STAGES

    study = Study.open(path)
    facts: dict[str, Any] = {
        "study": study.settings.name,
        "directory": str(study.directory),
        "outcomes": ", ".join(study.settings.outcomes),
        "locations": study.settings.locations.source,
        "features": f"{study.settings.features.source}: {study.settings.features.store}",
    }
    for stage in STAGES:
        facts[f"stage {stage.name}"] = _state(study, stage.name)
    return facts


def _state(study: Study, name: str) -> str:
    """Whether a stage is up to date; what it reads may not be there yet."""
    from streetgauge.stages import stage_named

    stage, kept = stage_named(name), study.record.get("stages", {}).get(name)
    if kept is None:
        return "not done"
    try:
        study.require_files(stage.settings)
        fresh = study.is_up_to_date(stage, study.stamp(stage))
    except (InputError, FileNotFoundError):
        return f"done {kept['started']}; what it reads is no longer there"
    says = "; ".join(kept["says"])
    return f"{'up to date' if fresh else 'out of date'} ({kept['started']}): {says}"


def _bundle(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(file, f"this is not JSON: {error}", "export the bundle again") from None
    if not isinstance(content, dict):
        raise InputError(file, "this does not describe a bundle", "export the bundle again")
    return {"bundle": str(file.parent), **content}


def _store(path: Path) -> dict[str, Any]:
    from streetgauge.features import FeatureStore

    store = FeatureStore.open(path)
    n, views, dimension = store.features.shape
    return {
        "feature store": str(path),
        "locations": f"{n:,}, of which {int(store.done.sum()):,} are done",
        "views": f"{views}: {', '.join(store.views)}",
        "features": f"{dimension:,} {store.features.dtype}",
        **{name: value for name, value in store.attributes.items() if name != "views"},
    }


def _table(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from streetgauge.files import read_metadata

    try:
        file = pq.ParquetFile(path)
        metadata = read_metadata(path)
    except (pa.ArrowException, json.JSONDecodeError) as error:
        raise InputError(path, f"this is no Parquet file: {error}") from None
    facts: dict[str, Any] = {
        "table": str(path),
        "rows": f"{file.metadata.num_rows:,}",
        "columns": ", ".join(file.schema_arrow.names),
    }
    if path.name == "skipped.parquet":
        counts = file.read(["stage", "reason"]).to_pandas().value_counts()
        for (stage, reason), count in counts.items():
            facts[f"{stage}: {reason}"] = f"{count:,}"
    return facts | metadata
