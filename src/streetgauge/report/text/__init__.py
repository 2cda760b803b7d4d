"""All that the page says in words, each kind from its own module."""

from streetgauge.report.text.caveats import caveats
from streetgauge.report.text.findings import (
    baseline,
    beside,
    finding,
    other_kind,
    plain,
    summary,
    verdict,
)
from streetgauge.report.text.numbers import (
    MISSING,
    PARTS,
    listed,
    nearby,
    number,
    percent,
    plural,
    span,
    unit,
)
from streetgauge.report.text.provenance import carried, incomplete, names_of, scale, what_was_run

__all__ = ["MISSING", "PARTS", "baseline", "beside", "carried", "caveats", "finding"]
__all__ += ["incomplete", "listed", "names_of", "nearby", "number", "percent", "plain", "plural"]
__all__ += ["scale", "other_kind", "span", "summary", "unit", "verdict", "what_was_run"]
