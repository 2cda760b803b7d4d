"""The reference of study.toml, written from the settings themselves so that it is never stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streetgauge.settings import StudySettings

SECTIONS = {
    "AreaSettings": "[areas]",
    "TableOutcome": '[outcomes.NAME] with source = "table"',
    "CensusOutcome": '[outcomes.NAME] with source = "census"',
    "DeprivationOutcome": '[outcomes.NAME] with source = "deprivation"',
    "IncomeOutcome": '[outcomes.NAME] with source = "income"',
    "DecileSettings": "[deciles]",
    "WeightSettings": "[deciles.weights]",
    "DirectoryLocations": '[locations] with source = "directory"',
    "PointLocations": '[locations] with source = "points"',
    "TableLocations": '[locations] with source = "table"',
    "ImagerySettings": "[imagery]",
    "MapillaryImagery": '[imagery] with source = "mapillary"',
    "PanoramaxImagery": '[imagery] with source = "panoramax"',
    "ImageFeatures": '[features] with source = "images"',
    "ClusterSettings": "[features.cluster]",
    "TableFeatures": '[features] with source = "table"',
    "RasterFeatures": '[features] with source = "raster"',
    "SimulatedFeatures": '[features] with source = "simulated"',
    "ConceptSettings": "[concepts]",
    "FoldSettings": "[folds]",
    "TrainSettings": "[train]",
    "CoverageSettings": "[coverage]",
    "TransferSettings": "[transfer]",
    "EvaluationSettings": "[evaluation]",
    "PopulationSettings": "[evaluation.population]",
    "ReportSettings": "[report]",
}


def write_settings_table(file: Path) -> None:
    """Write one table of keys, defaults and meanings for each section of study.toml."""
    schema = StudySettings.model_json_schema()
    top = {key: about for key, about in schema["properties"].items() if _is_plain(about)}
    parts = [
        "# All keys of study.toml\n\n## The top of the file\n",
        *_table(top, schema.get("required", [])),
    ]
    for name, title in SECTIONS.items():
        section = schema["$defs"][name]
        parts += [f"\n## {title}\n", *_table(section["properties"], section.get("required", []))]
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(parts) + "\n", encoding="utf-8")


def _is_plain(about: dict[str, Any]) -> bool:
    return "type" in about or ("anyOf" in about and "$ref" not in str(about["anyOf"]))


def _table(properties: dict[str, Any], required: list[str]) -> list[str]:
    rows = ["| key | default | meaning |", "| --- | --- | --- |"]
    for key, about in properties.items():
        if key in ("source", "outcomes", "named_features", "named_imagery"):
            continue
        default = "required" if key in required else f"`{about.get('default')}`"
        meaning = about.get("description", "")
        choices = about.get("enum") or [
            choice for option in about.get("anyOf", []) for choice in option.get("enum", [])
        ]
        if choices:
            meaning = f"{meaning}{': ' if meaning else ''}{', '.join(f'`{c}`' for c in choices)}"
        rows.append(f"| `{key}` | {default} | {meaning} |")
    return rows
