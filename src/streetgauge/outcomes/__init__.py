"""Official statistics of small areas, read as they are published, and cut into deciles.

Every reader turns one publication's layout into an `Outcome`; `build_outcomes` joins outcomes to
the study's areas by their codes. Decile 1 is the worst off, for every outcome.
"""

from __future__ import annotations

from streetgauge.outcomes.build import build_outcomes, read_outcome
from streetgauge.outcomes.deciles import deciles
from streetgauge.outcomes.measures import MEASURES, Measure, Sum
from streetgauge.outcomes.outcome import Outcome
from streetgauge.outcomes.sources import Source, sources

__all__ = [
    "MEASURES",
    "Measure",
    "Outcome",
    "Source",
    "Sum",
    "build_outcomes",
    "deciles",
    "read_outcome",
    "sources",
]
