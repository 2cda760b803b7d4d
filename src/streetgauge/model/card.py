"""The card of a bundle: what the model is, in plain words, and in the front matter of the Hub.

Front matter: https://huggingface.co/docs/hub/model-cards (YAML; every scalar is written as JSON,
which YAML contains).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from streetgauge.markup import estimate_text
from streetgauge.model.network import view_widths
from streetgauge.skips import without_value

Description = Mapping[str, Any]

__all__ = ["write_card"]

# Licences that the Hub knows by name; others are named beside "other".
_HUB_LICENCES = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0", "agpl-3.0"),
    *("lgpl-3.0", "mpl-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "isc"),
    *("cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "odbl", "pddl", "unlicense"),
}
# Of metrics.json, under the Hub's names where it has them.
_METRICS = {
    "mae": ("mae", "mean absolute error, classes"),
    "within_1": ("accuracy", "share of areas at most one class off"),
    "spearman": ("spearmanr", "rank correlation"),
    "pearson": ("pearsonr", "correlation of classes"),
}


def write_card(bundle: Description, width: int) -> str:
    """Describe a bundle in Markdown with YAML front matter.

    Parameters
    ----------
    bundle : mapping
        The content of its ``bundle.json``.
    width : int
        Units of the first view layer.
    """
    parts = [
        f"# Street images to deciles: {', '.join(_labels(bundle))}",
        _what(bundle),
        "## How it was trained\n\n" + _how(bundle, width),
    ]
    if bundle["metrics"] and bundle["metrics"].get("outcomes"):
        parts.append("## How good it is\n\n" + _test(bundle, bundle["metrics"]))
    if bundle["training"] and bundle["training"]["validation_areas"]:
        parts.append("## Figures on the validation part\n\n" + _figures(bundle, bundle["training"]))
    parts += ["## Use\n\n" + _use(bundle), "## Limits\n\n" + _limits()]
    parts.append("## Sources\n\n" + _sources(bundle))
    front = "\n".join(_yaml(_front_matter(bundle)))
    return f"---\n{front}\n---\n\n" + "\n\n".join(parts) + "\n"


def _front_matter(bundle: Description) -> dict[str, Any]:
    licence = (bundle["licence"] or "unknown").lower()
    known = licence in _HUB_LICENCES or licence == "unknown"
    study = str(bundle["source"].get("study") or "")
    matter: dict[str, Any] = {"license": licence if known else "other"}
    if not known:
        matter["license_name"] = _slug(licence)
    matter |= {
        "library_name": "streetgauge",
        "tags": ["streetgauge", "street-view", "ordinal-regression", "inequality", "deprivation"],
        "datasets": [_slug(study)] if study else [],
    }
    results = list(_results(bundle, study))
    if results:  # the Hub wants at least one
        matter["model-index"] = [
            {"name": f"{study or 'streetgauge'} {bundle['name']}", "results": results}
        ]
    return {key: value for key, value in matter.items() if value}


def _results(bundle: Description, study: str) -> Iterator[dict[str, Any]]:
    measured = (bundle["metrics"] or {}).get("outcomes", {})
    for outcome, label in zip(bundle["outcomes"], _labels(bundle), strict=True):
        values = measured.get(outcome, {}).get("metrics", {})
        found = [
            {"type": kind, "value": values[key]["value"], "name": words}
            for key, (kind, words) in _METRICS.items()
            if values.get(key, {}).get("value") is not None
        ]
        if found:
            yield {
                "task": {"type": "tabular-classification", "name": "deciles of areas"},
                "dataset": {
                    "type": _slug(study or "study"),
                    "name": f"{study}: {label}{_incomplete(bundle, outcome)}",
                },
                "metrics": found,
            }


def _what(bundle: Description) -> str:
    classes = bundle["classes"]
    network = bundle["settings"]["network"]
    apart = (
        "The outcomes share one trunk; what follows the views is each outcome's own."
        if network == "shared"
        else "There is one network per outcome; they share nothing but the features."
    )
    return (
        f"For every location and outcome this model gives a score and the probability of each of "
        f"{classes} classes, from the features of the location's street images: class 1 is worst "
        f"off, class {classes} best off. Features are {bundle['dimension']} numbers an image, "
        "from "
        f"{_named(bundle['source'], 'backbone', 'a backbone that is not named')}. {apart}"
    )


def _how(bundle: Description, width: int) -> str:
    training, settings = bundle["training"], bundle["settings"]
    paper = "Suel, Polak, Bennett and Ezzati 2019, doi:10.1038/s41598-019-42036-w"
    if training is None:
        if not bundle["source"].get("imported"):
            return f"It was not trained here: it is the model of {_start(bundle)}, as it was."
        where = f" in {bundle['source']['study']}" if bundle["source"].get("study") else ""
        return (
            "It was not trained here: the weights are imported from those that were published "
            f"with the paper ({paper}), trained{where}. Network `{settings['network']}`; the "
            "scores "
            "are as they came."
        )
    part = (
        "all areas"
        if bundle["name"] == "all"
        else "areas of which none was tested"
        if bundle["name"] == "train"
        else f"all areas but those of {bundle['name']}, which were held out for testing"
    )
    apart, length = (
        f"Another {training['validation_areas']:,} areas ({training['validation_locations']:,} "
        "locations) were not learnt from; they said when to stop and how far to spread the scores.",
        f"at most {settings['epochs']} epochs, patience {settings['patience']}",
    )
    members = 1 if bundle["source"].get("start") else settings["ensemble_size"]
    if members > 1:
        apart = (
            f"{members} networks, whose scores are averaged, were each stopped by another share of "
            "these areas, which it did not learn from; so were their scores spread."
        )
    if not training["validation_areas"]:
        apart = "Nothing was set apart to say when to stop or how far to spread the scores."
        length = f"{settings['epochs']} epochs"
    begun = (
        f"It did not start from nothing, but from the model of {_start(bundle)} "
        f"(tuned: {settings['tune']}).\n\n"
        if bundle["source"].get("start")
        else ""
    )
    return (
        f"Trained on {part}: {training['training_locations']:,} locations in "
        f"{training['training_areas']:,} areas. {apart}\n\n{begun}"
        f"Network `{settings['network']}`, after {paper}: {_layers(bundle, width)}, head "
        f"`{settings['head']}`; "
        f"Adam, learning rate {settings['learning_rate']:g}, batches of {settings['batch']}, "
        f"{length}; "
        f"products in {training['precision']}; classes weighted to count the same; seed "
        f"{bundle['seed']}; streetgauge {bundle['code_version']}."
    )


def _layers(bundle: Description, width: int) -> str:
    *first, last = view_widths(width)
    said = f"view layers of {', '.join(map(str, first))} and {last} units"
    components = bundle["settings"]["components"]
    if not components:
        return said
    return f"{said}, learnt on {components} principal components of the features"


def _start(bundle: Description) -> str:
    return str(bundle["source"].get("start", {}).get("study") or "another study")


def _test(bundle: Description, metrics: Mapping[str, Any]) -> str:
    interval_level, scheme = metrics.get("interval_level"), metrics.get("scheme")
    said = scheme if isinstance(scheme, Mapping) else {}
    how = f" ({said['description']})" if said.get("description") else ""
    who = said.get("caution") or (
        "Every area was predicted by a network that had not seen it, trained like this one on the "
        "rest"
    )
    who = f"{who.rstrip('.')}{how}."
    rows = []
    for outcome, label in zip(bundle["outcomes"], _labels(bundle), strict=True):
        about = metrics.get("outcomes", {}).get(outcome)
        if not about:
            continue
        values = about["metrics"]
        baselines = {
            name: value["mae"]
            for name, value in about.get("baselines", {}).items()
            if value.get("mae") is not None
        }
        best = min(baselines, key=lambda name: baselines[name], default="")
        without = f"{baselines[best]:.2f} ({best})" if best else "-"
        add = estimate_text((about.get("gain") or {}).get("mae"), "+.2f")
        rows.append(
            f"| {label}{_incomplete(bundle, outcome)} | {about['n_areas']:,} | "
            f"{estimate_text(values.get('mae'))} | {estimate_text(values.get('spearman'))} | "
            f"{without} | {add} |"
        )
    intervals = f" Intervals are {interval_level:.0%} ones." if interval_level else ""
    return (
        f"{who}{intervals} Beside it is the best guess that needs no image, and how much less "
        "error the images make than it.\n\n"
        "| outcome | areas | mean absolute error | rank correlation | without images | images "
        "add |\n| --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows)
    )


def _incomplete(bundle: Description, outcome: str) -> str:
    """Mark an outcome that lacks areas: its figures speak for the others only."""
    said = without_value(_about(bundle, outcome))
    return f" ({said})" if said else ""


def _figures(bundle: Description, training: Mapping[str, Any]) -> str:
    rows = zip(
        _labels(bundle),
        training["best_epoch"],
        training["validation_loss"],
        training["validation_mae"],
        (each.values() for each in bundle["calibration"].values()),
        strict=True,
    )
    table = "\n".join(
        f"| {label} | {epoch:.3g} | {loss:.3f} | {mae:.2f} | {a:+.3f} | {b:.3f} |"
        for label, epoch, loss, mae, (a, b) in rows
    )
    test = "the table above" if bundle["metrics"] else "the study's report"
    return (
        "These areas chose the epoch and the calibration, so the figures flatter. They are per "
        f"location and are no test of the model: {test} has the test.\n\n"
        "| outcome | best epoch | loss | mean absolute error, classes | a | b |\n"
        "| --- | --- | --- | --- | --- | --- |\n" + table
    )


def _use(bundle: Description) -> str:
    return (
        "```\nstreetgauge predict BUNDLE --images images --locations places.csv --out city\n```\n"
        "\nBUNDLE is this directory, or `hf://user/name@revision`."
    )


def _limits() -> str:
    return (
        "Made to describe areas: average the scores of an area's locations. A single location's "
        "class is weak evidence, and nothing here says anything about a household or a person. The "
        "model finds what street images show and what goes along with it in the places and "
        "years that it was trained on; elsewhere, and later, it can be wrong without a sign. "
        "Compare it with official figures of some areas before use in another city, and do not "
        "use it to decide about people."
    )


def _sources(bundle: Description) -> str:
    source = bundle["source"]
    lines = [
        f"- This bundle: licence {bundle['licence'] or 'not given'}.",
        f"- Features: {_named(source, 'backbone', 'not named')}; weights sha256 "
        f"{_named(source, 'weights_sha256', 'not given')}; licence "
        f"{_named(source, 'licence', 'not given')}.",
    ]
    if source.get("views"):
        lines.append(f"- Views: {', '.join(map(str, source['views']))}.")
    for outcome in bundle["outcomes"]:
        about = _about(bundle, outcome)
        facts = "; ".join(_provenance(about)) or "source not given"
        lines.append(f"- {about.get('label') or outcome}: {facts}.")
    return "\n".join(lines)


def _provenance(about: Mapping[str, Any]) -> Iterator[str]:
    """Say where an outcome comes from: who, what, when, which cells, which file."""
    years = dict.fromkeys(about[key] for key in ("vintage", "areas") if about.get(key))
    files = about.get("files") or [about] if about.get("file") else []
    lookup = about.get("lookup")
    yield from (str(about[key]) for key in ("source", "publisher") if about.get(key))
    if years:
        yield ", ".join(years)
    if about.get("direction"):
        yield str(about["direction"]).replace("-", " ")
    if about.get("cells"):
        yield f"cells {', '.join(about['cells'])}"
    for each in files:
        yield str(each["file"]) + (f" (sha256 {each['sha256']})" if each.get("sha256") else "")
    if lookup:
        yield f"carried from {lookup['from']} to {lookup['to']} areas by {lookup['file']}"
    if about.get("licence"):
        yield str(about["licence"])


def _labels(bundle: Description) -> list[str]:
    return [str(_about(bundle, outcome).get("label") or outcome) for outcome in bundle["outcomes"]]


def _about(bundle: Description, outcome: str) -> dict[str, Any]:
    return dict(bundle["source"].get("outcomes", {}).get(outcome, {}))


def _named(source: Any, key: str, otherwise: str) -> str:
    return str(source.get(key) or otherwise)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "study"


def _yaml(value: Any, indent: int = 0) -> Iterator[str]:
    """Lines of a mapping, or of a list, in block style."""
    space = "  " * indent
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in items:
        start = f"{space}{key}:" if key is not None else f"{space}-"
        if isinstance(item, dict | list):
            lines = list(_yaml(item, indent + 1))
            if key is None:  # the first line stands beside the dash
                yield f"{start} {lines[0].lstrip()}"
                yield from lines[1:]
            else:
                yield start
                yield from lines
        else:
            yield f"{start} {json.dumps(item, ensure_ascii=False)}"
