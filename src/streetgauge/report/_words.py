"""All that the page says in words, each kind from its own module."""

from streetgauge.report._caveats import caveats
from streetgauge.report._findings import (
    FOLDS,
    baseline,
    beside,
    finding,
    second_kind,
    summary,
    verdict,
)
from streetgauge.report._numbers import (
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
from streetgauge.report._plain import plain
from streetgauge.report._run import names_of, what_was_run
from streetgauge.report._sources import carried, incomplete, scale

__all__ = ["FOLDS", "MISSING", "PARTS", "baseline", "beside", "carried", "caveats", "finding"]
__all__ += ["incomplete", "listed", "names_of", "nearby", "number", "percent", "plain", "plural"]
__all__ += ["scale", "second_kind", "span", "summary", "unit", "verdict", "what_was_run"]
