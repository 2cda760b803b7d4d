"""The card of a bundle: what the model is, in plain words, and in the front matter of the Hub.

Front matter: https://huggingface.co/docs/hub/model-cards (YAML; every scalar is written as JSON,
which YAML contains). Ours, and not huggingface_hub's ModelCardData: that package is an extra, and a
bundle has its card without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from streetgauge.markup import cut_points_text, estimate_text, template
from streetgauge.model.network import view_widths
from streetgauge.skips import without_value

Description = Mapping[str, Any]


# Licences that the Hub knows by name; others are named next to "other".
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


def write_card(bundle: Description, width: int | None) -> str:
    """Describe a bundle in Markdown with YAML front matter.

    Parameters
    ----------
    bundle : mapping
        The content of its ``bundle.json``.
    width : int or None
        Units of the network's first view layer; None without a network.
    """
    source, settings, training = bundle["source"], bundle["settings"], bundle["training"]
    metrics = bundle["metrics"] or {}
    licence = (bundle["licence"] or "unknown").lower()
    known = licence in _HUB_LICENCES or licence == "unknown"
    alone = settings["learner"] == "network"
    validated = alone and training and training["validation_areas"]
    abouts, labels, marked = _named(bundle)
    cuts = bundle.get("cut_points") or {}
    return template("streetgauge.model", "card.md.jinja").render(
        bundle=bundle,
        source=source,
        settings=settings,
        training=training,
        members=1 if source.get("start") else settings["ensemble_size"],
        widths=None if width is None else view_widths(width),
        study=str(source.get("study") or ""),
        licence=licence if known else "other",
        licence_name="" if known else _hub_name(licence),
        labels=labels,
        results=list(_results(bundle, marked)),
        evaluation=held_out_sentence(metrics),
        interval_level=metrics.get("interval_level"),
        tested=list(held_out_rows(bundle)) if metrics.get("outcomes") else None,
        cuts=[
            (x, cut_points_text(cuts[n])) for n, x in zip(bundle["outcomes"], labels, strict=True)
        ]
        if cuts
        else None,
        validated=list(_validated(bundle, labels)) if validated else None,
        provenance=zip(labels, map(list, map(_provenance, abouts)), strict=True),
        json=partial(json.dumps, ensure_ascii=False),
        slug=_hub_name,
    )


def _named(bundle: Description) -> tuple[list[Mapping[str, Any]], list[str], list[str]]:
    """Give what is known of each outcome, its label, and the label with a mark."""
    about = bundle["source"].get("outcomes", {})
    abouts = [about.get(each, {}) for each in bundle["outcomes"]]
    labels = [str(a.get("label") or n) for n, a in zip(bundle["outcomes"], abouts, strict=True)]
    # An outcome that lacks areas is marked: its figures are those of the others only.
    lacking = [without_value(each) for each in abouts]
    return abouts, labels, [f"{x} ({y})" if y else x for x, y in zip(labels, lacking, strict=True)]


def _results(bundle: Description, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Metrics of each outcome, as the Hub lists them."""
    measured = (bundle["metrics"] or {}).get("outcomes", {})
    for outcome, label in zip(bundle["outcomes"], labels, strict=True):
        values = measured.get(outcome, {}).get("metrics", {})
        found = [
            (kind, values[key]["value"], words)
            for key, (kind, words) in _METRICS.items()
            if values.get(key, {}).get("value") is not None
        ]
        if found:
            yield {"label": label, "metrics": found}


def held_out_sentence(metrics: Mapping[str, Any]) -> str:
    """Describe how the areas were held out."""
    scheme = metrics.get("scheme")
    about = scheme if isinstance(scheme, Mapping) else {}
    how = f" ({about['description']})" if about.get("description") else ""
    who = about.get("caution") or (
        "Every area was predicted by a network that had not seen it, trained like this one on the "
        "rest"
    )
    return f"{who.rstrip('.')}{how}."


def held_out_rows(bundle: Description) -> Iterator[tuple[str, ...]]:
    """Give the figures of each outcome that was tested, as text.

    Parameters
    ----------
    bundle : mapping
        ``outcomes``, ``source`` and ``metrics`` of its ``bundle.json``.

    Returns
    -------
    iterator of tuple of str
        Label, areas, mean absolute error, rank correlation, the best baseline without images, and
        what the images add.
    """
    tested = (bundle["metrics"] or {}).get("outcomes", {})
    for outcome, label in zip(bundle["outcomes"], _named(bundle)[2], strict=True):
        about = tested.get(outcome)
        if not about:
            continue
        baselines = {
            name: value["mae"]
            for name, value in about.get("baselines", {}).items()
            if value.get("mae") is not None
        }
        best = min(baselines, key=lambda name: baselines[name], default="")
        yield (
            label,
            f"{about['n_areas']:,}",
            estimate_text(about["metrics"].get("mae")),
            estimate_text(about["metrics"].get("spearman")),
            f"{baselines[best]:.2f} ({best})" if best else "-",
            estimate_text((about.get("gain") or {}).get("mae"), "+.2f"),
        )


def _validated(bundle: Description, labels: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Rows of the table of the validation part."""
    training = bundle["training"]
    columns = (training[name] for name in ("best_epoch", "validation_loss", "validation_mae"))
    calibration = (each.values() for each in bundle["calibration"].values())
    for label, epoch, loss, mae, (a, b) in zip(labels, *columns, calibration, strict=True):
        yield label, f"{epoch:.3g}", f"{loss:.3f}", f"{mae:.2f}", f"{a:+.3f}", f"{b:.3f}"


def _provenance(about: Mapping[str, Any]) -> Iterator[str]:
    """Where an outcome comes from: who, what, when, which cells, which file."""
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


def _hub_name(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "study"
