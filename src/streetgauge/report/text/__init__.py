"""All sentences of the page, each kind from its own module."""

from streetgauge.report.text.age import age_sentences
from streetgauge.report.text.asked import asked_of
from streetgauge.report.text.caveats import caveats, leak_messages, years_of
from streetgauge.report.text.change import change_sentences
from streetgauge.report.text.concepts import concept_caveats, concepts_of
from streetgauge.report.text.coverage import coverage_of, coverage_sentences
from streetgauge.report.text.fairness import fairness_sentences
from streetgauge.report.text.findings import (
    baseline,
    finding,
    gain_direction,
    other_kind,
    other_summary,
    plain,
    plainer,
    summary,
)
from streetgauge.report.text.numbers import (
    MISSING,
    PARTS,
    general,
    listed,
    nearby,
    number,
    percent,
    plural,
    span,
    unit,
)
from streetgauge.report.text.people import responsible_use
from streetgauge.report.text.pooling import POOL_METHODS, pool_means, pool_sentences
from streetgauge.report.text.provenance import carried, incomplete, names_of, scale, what_was_run
from streetgauge.report.text.sampling import sample_sentences
from streetgauge.report.text.sources import source_sentences
from streetgauge.report.text.survey import survey_sentences
from streetgauge.report.text.verdict import Verdict, verdict

__all__ = ["MISSING", "PARTS", "baseline", "other_summary", "carried", "caveats", "finding"]
__all__ += ["incomplete", "listed", "names_of", "nearby", "number", "percent", "plain", "plural"]
__all__ += ["concept_caveats", "concepts_of", "coverage_of", "coverage_sentences"]
__all__ += ["fairness_sentences", "leak_messages", "plainer", "responsible_use"]
__all__ += ["age_sentences", "source_sentences", "years_of"]
__all__ += ["scale", "other_kind", "span", "summary", "unit", "gain_direction", "what_was_run"]
__all__ += [
    "POOL_METHODS",
    "Verdict",
    "change_sentences",
    "general",
    "pool_means",
    "pool_sentences",
]
__all__ += ["sample_sentences", "survey_sentences"]
__all__ += ["asked_of", "verdict"]
