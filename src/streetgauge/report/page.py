"""The report: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from streetgauge.report import text as words
from streetgauge.report.data import ReportData
from streetgauge.report.figures.drawing import short
from streetgauge.report.map import layers, outline, packed, payload
from streetgauge.report.text import evaluation, provenance
from streetgauge.report.text.caveats import tested as tested_by
from streetgauge.settings import FOLD_KINDS

__all__ = ["map_context", "render", "render_map", "write_page"]

OFFICIAL = "Official statistics of {:,} areas: nothing is predicted."
SHADES = 9
LONGEST = 80  # characters of an outcome's label within a sentence or a table's row
COLUMN = 300  # points; what is wider fills both columns of the page
SCRIPTS = ("values.js", "card.js", "map.js", "switches.js", "take.js", "page.js")
FIRST = ("gain", "methods")  # the figures that carry the verdicts


def render(data: ReportData) -> str:
    """Write the page.

    It loads nothing: script and style are in it, and its Content-Security-Policy allows them by
    their hash and forbids everything else. All text is escaped.

    Parameters
    ----------
    data : ReportData
        What to show. Without geometry the page has no map and a reason.

    Returns
    -------
    str
        HTML.
    """
    return write_page("template.html.jinja", data)


def render_map(data: ReportData, scale: str = "") -> str:
    """Write a page with nothing but the map, its switches, its search and its cards.

    Parameters
    ----------
    data : ReportData
        As for `render`.
    scale : str
        What a class means, if it is no class of official statistics.

    Returns
    -------
    str
        HTML, as self-contained as the report.
    """
    own = {"scale": scale, "about": ""} if scale else {}
    return write_page("map_page.html.jinja", data, lambda given: map_context(given) | own)


def write_page(
    template: str, data: ReportData, context: Callable[[ReportData], dict[str, Any]] | None = None
) -> str:
    """Fill a template of this package, with the script and style of the report."""
    script, style = script_of_page(), _asset("style.css")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    page = _environment().get_template(template)
    return page.render(
        **(context or _context)(data), policy=policy, script=Markup(script), style=Markup(style)
    )


@cache
def _environment() -> jinja2.Environment:
    """Templates of this package: compiled once, though a process writes many pages."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_asset),
    )
    environment.filters |= {"number": words.number, "percent": words.percent, "span": words.span}
    environment.globals |= {"plural": words.plural}
    return environment


def script_of_page() -> str:
    """Put the parts of the script together, out of the way of any other."""
    parts = "".join(_asset(name) for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def map_context(data: ReportData) -> dict[str, Any]:
    """Give what the map and its switches need; there may be no predictions."""
    names = _ordered(data)
    labels = {n: str(data.provenance.get(n, {}).get("label") or n) for n in names}
    classes = int(data.metrics["classes"])
    geometry, without_map = _geometry(data)
    content = packed(payload(data, labels, geometry))
    return {
        "data": data,
        "labels": labels,
        "evaluations": {n: data.metrics["outcomes"][n] for n in names},
        "caution": data.metrics["scheme"]["caution"],
        "unmeasured": "",
        "scale": words.scale(
            data.provenance, classes, predicted=bool(data.table["decile"].notna().any())
        ),
        "without_map": without_map,
        "size": None if geometry is None else (geometry["width"], geometry["height"]),
        "layers": layers(data.table, classes),
        "payload": _embedded(content),
        "postcodes": bool(content["postcodes"]),
        "too_many_postcodes": _too_many_postcodes(data, content["postcodes"]),
        "districts": bool(content["districts"]),
        "contents": [],  # each section adds itself
        "verdicts": {},
        "incomplete": {},
        "about": "" if data.table["decile"].notna().any() else OFFICIAL.format(len(data.areas)),
        "classes": classes,
        "many": words.unit(classes)[1],
    }


def _context(data: ReportData) -> dict[str, Any]:
    shared = map_context(data)
    names, labels, evaluations = list(shared["labels"]), shared["labels"], shared["evaluations"]
    known = labels | {n: str(p.get("label") or n) for n, p in data.provenance.items()}
    called = {n: short(label, LONGEST) for n, label in known.items()}
    tested = {n: called[n] for n in names}
    classes = int(data.metrics["classes"])
    one, many = words.unit(classes)
    plates = _plates(data.figures, tested)
    return {
        **shared,
        "called": called,
        "metrics": data.metrics,
        "summary": words.summary(tested, data.metrics),
        "other": _other_folds(data.metrics, tested),
        "plainer": words.plainer(data.metrics, tested, _learner(data.settings)),
        "findings": {n: words.finding(a, data.metrics) for n, a in evaluations.items()},
        "directions": {n: words.gain_direction(a) for n, a in evaluations.items()},
        "baseline_in_words": {
            b: words.baseline(b, data.metrics.get("neighbours"), classes)
            for a in itertools.chain(evaluations.values(), *_other_evaluations(data.metrics))
            for b in a["baselines"]
        },
        "caveats": words.caveats(data, tested),
        "tested": tested_by(data.metrics["scheme"]),
        "one": one,
        "many": many,
        "nearby": words.nearby(classes),
        "incomplete": {
            n: words.incomplete(data.provenance.get(n, {}), tested, classes) for n in names
        },
        "counts": _counts(data),
        "about": _about(data),
        "verdicts": {n: _verdict(n, data) for n in names},
        "has_best": any(a.get("best") for a in evaluations.values()),
        "has_oracle": any("oracle" in a for a in evaluations.values()),
        "titles": evaluation.titles(classes),
        "methods": {n: evaluation.methods(a, data.metrics) for n, a in evaluations.items()},
        "groups": {n: evaluation.groups(a, data.metrics) for n, a in evaluations.items()},
        "notes": {n: evaluation.notes(a, classes) for n, a in evaluations.items()},
        "undefined": {
            n: evaluation.undefined(a, data.metrics, classes) for n, a in evaluations.items()
        },
        "levels": evaluation.levels(data.metrics, tested),
        "gains": _gains(evaluations, data.metrics),
        "leading": plates.pop("", []),
        "figures": list(plates.items()),
        "shade": {n: _shades(a["confusion"]) for n, a in evaluations.items()},
        "dots": {n: _dots(a) for n, a in evaluations.items()},
        "settings": list(provenance.flat(data.settings)),
        "reasons": provenance.reasons(data.skips, data.locations),
        "facts": provenance.facts(data.run),
        "concepts": words.concepts_of(data.concepts, tested) if data.concepts else (),
        "concept_caveats": words.concept_caveats(data.concepts, tested) if data.concepts else (),
        "coverage": words.coverage_of(data, called),
        "sources": words.source_sentences(data.metrics, tested),
        "age": words.age_sentences(data.age, called) if data.age else (),
        "fairness": words.fairness_sentences(data.fairness, called) if data.fairness else (),
        "asked": words.asked_of(data, called),
        "use": words.responsible_use(data, called),
        "gallery": data.gallery,
        "area_names": words.names_of(data.areas),
        "image_credits": data.gallery is not None and len(data.gallery.credits()) > 1,
        # Nothing was seen, so nobody may decide by it.
        "plain": "" if data.simulated else words.plain(tested, data.metrics),
        "run_summary": words.what_was_run(data, called),
        "carried": {n: t for n, p in data.provenance.items() if (t := words.carried(p))},
        "cells": {n: provenance.cells(p.get("cells", ())) for n, p in data.provenance.items()},
        "files": {n: provenance.files(p) for n, p in data.provenance.items()},
    }


def _learner(settings: Mapping[str, Any]) -> str:
    return str((settings.get("train") or {}).get("learner") or "network")


def _other_folds(metrics: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, Any] | None:
    """Give what the images add in the other folds, if there are any."""
    kind = words.other_kind(metrics)
    if kind is None:
        return None
    evaluations = metrics["other_folds"]["outcomes"]
    return {
        "own": FOLD_KINDS.get(metrics["kind"], "these folds"),
        "other": FOLD_KINDS[kind],
        "folds": _folds_in_words(metrics, kind),
        "cells": {name: cells.get(kind) for name, cells in metrics["headline"].items()},
        "directions": {n: words.gain_direction(each) for n, each in evaluations.items()},
        "summary": words.other_summary(labels, metrics),
    }


def _folds_in_words(metrics: Mapping[str, Any], kind: str) -> str:
    """Describe what the names of both kinds of folds stand for."""
    named = {metrics["kind"]: metrics, kind: metrics["other_folds"]}
    kinds = [
        f"{FOLD_KINDS[k]}: {each['scheme']['description']}"
        for k, each in named.items()
        if k in FOLD_KINDS
    ]
    return f"{'; '.join(kinds).capitalize()}."


def _other_evaluations(metrics: Mapping[str, Any]) -> Iterator[Iterable[Mapping[str, Any]]]:
    if words.other_kind(metrics) is not None:
        yield metrics["other_folds"]["outcomes"].values()


def _gains(evaluations: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[Any, Any]:
    """Place what the images add in both kinds of folds on one line."""
    cells = {("own", n): (a["gain"] or {}).get("mae") for n, a in evaluations.items()}
    kind = words.other_kind(metrics)
    if kind is not None:
        headline = metrics["headline"]
        cells |= {("other", n): (headline[n].get(kind) or {}).get("mae") for n in headline}
    return evaluation.gains(cells)


def _plates(figures: Sequence[Any], labels: Mapping[str, str]) -> dict[str, list[Any]]:
    """Put the figures that carry the verdicts first, then the study's, then each outcome's."""
    plates: dict[str, list[Any]] = {}
    for each in figures:
        # The outcome's own section has the same numbers as a table.
        if not str(each.name).startswith("confusion-"):
            of = getattr(each, "outcome", None)
            title = "The whole study" if of is None else labels.get(of, of)
            title = "" if each.name in FIRST else title
            plates.setdefault(title, []).append(_figure(each, "" if of is None else title))
    return plates


def _figure(figure: Any, label: str) -> dict[str, Any]:
    """Give a figure as an image: its own styles and names stay out of the page's."""

    def below(text: object) -> str:
        """Drop the outcome's name, which stands above."""
        rest = str(text or "").removeprefix(f"{short(label, 60)}: ")
        return rest[:1].upper() + rest[1:]

    title = below(figure.title)
    width = re.search(r'<svg[^>]*\swidth="([\d.]+)pt"', str(figure.svg))
    encoded = base64.b64encode(str(figure.svg).encode()).decode()
    return {
        "name": str(figure.name),
        "title": title if title.endswith("?") else f"{title}.",
        "caption": below(getattr(figure, "caption", "")),
        "alt": str(getattr(figure, "alt", "") or figure.title),
        "src": f"data:image/svg+xml;base64,{encoded}",
        "wide": width is not None and float(width[1]) > COLUMN,
    }


def _ordered(data: ReportData) -> list[str]:
    """Outcomes in the study's order."""
    known = list(data.metrics["outcomes"])
    first = [name for name in data.provenance if name in known]
    return first + [name for name in known if name not in first]


def _verdict(name: str, data: ReportData) -> words.Verdict:
    """Judge an outcome's map; figures that hold for no real city allow no use."""
    if data.simulated:
        return words.Verdict("no", ("No image was used.",))
    if data.metrics["scheme"]["caution"]:
        return words.Verdict("no", ("The figures leak.",))
    other = (data.metrics.get("other_folds") or {}).get("outcomes", {}).get(name)
    predicted = data.table.loc[data.table["outcome"] == name, "decile"].notna().sum()
    return words.verdict(
        data.metrics["outcomes"][name],
        other,
        with_images=float(predicted) / max(len(data.areas), 1),
        classes=int(data.metrics["classes"]),
    )


def _about(data: ReportData) -> str:
    """Sum up in a line what was estimated, and where."""
    what = words.plural(len(data.metrics["outcomes"]), "outcome")
    source = "made-up features" if data.simulated else "street images"
    return (
        f"{what} of {words.plural(len(data.areas), 'area')}, estimated from {source} at "
        f"{words.plural(_used(data), 'location')}."
    )


def _used(data: ReportData) -> int:
    used = data.table.groupby("outcome")["n_locations"].sum().max() if len(data.table) else 0
    return int(used)


def _counts(data: ReportData) -> list[tuple[str, str]]:
    return [
        ("areas", f"{len(data.areas):,}"),
        ("areas with a prediction", f"{data.table['area'].nunique():,}"),
        ("locations", f"{len(data.locations):,}"),
        ("locations used", f"{_used(data):,}"),
        ("outcomes", f"{len(data.metrics['outcomes'])}"),
        ("folds", f"{data.metrics['folds']}"),
    ]


def _geometry(data: ReportData) -> tuple[dict[str, Any] | None, str]:
    if "geometry" not in data.areas.columns:
        return None, (
            "There is no map: the study's areas come from a table without boundaries. With a "
            "boundary file under [areas] this page draws them."
        )
    geometry = outline(data.areas, data.basemap)
    if geometry is None:
        return None, "There is no map: no area of the study's boundary file has a polygon."
    return geometry, ""


def _too_many_postcodes(data: ReportData, packed: str | None) -> int:
    """How many postcodes there are that could not be put into the page."""
    if packed is not None or "postcode" not in data.locations:
        return 0
    return int(data.locations["postcode"].nunique())


def _embedded(content: object) -> Markup:
    """JSON that cannot end its script element, whatever the names in it are."""
    text = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _shades(confusion: list[list[int]]) -> list[list[int]]:
    """How dark each cell is, 0 to SHADES."""
    table = np.asarray(confusion, dtype=float)
    shade = np.ceil(SHADES * table / max(table.max(initial=0), 1))
    result: list[list[int]] = shade.astype(int).tolist()
    return result


def _dots(each_outcome: Mapping[str, Any]) -> dict[str, float | None] | None:
    """Place Spearman's ρ, its interval and its yardsticks on a line, in per cent of 0 to 1."""
    rho = each_outcome["metrics"]["spearman"]
    if rho["value"] is None:
        return None

    def per_cent(value: float | None) -> float | None:
        return None if value is None else round(100 * min(max(value, 0.0), 1.0), 2)

    others = [
        b["spearman"] for b in each_outcome["baselines"].values() if b["spearman"] is not None
    ]
    oracle = each_outcome.get("oracle", {}).get("spearman", {}).get("value")
    return {
        "value": per_cent(rho["value"]),
        "low": per_cent(rho["low"]),
        "high": per_cent(rho["high"]),
        "baseline": per_cent(max(others, default=None)),
        "oracle": per_cent(oracle),
    }


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
