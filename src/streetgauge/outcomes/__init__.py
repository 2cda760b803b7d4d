"""Official statistics of small areas, read as they are published, and cut into deciles.

Every reader turns one publication's layout into an `Outcome`; `build_outcomes` joins outcomes to
the study's areas by their codes. Decile 1 is the worst off, for every outcome.
"""

from __future__ import annotations

from streetgauge.outcomes.build import build_outcomes as build_outcomes
from streetgauge.outcomes.build import read_outcome as read_outcome
from streetgauge.outcomes.deciles import deciles
from streetgauge.outcomes.measures import MEASURES as MEASURES
from streetgauge.outcomes.measures import Measure as Measure
from streetgauge.outcomes.measures import Sum as Sum
from streetgauge.outcomes.outcome import Outcome as Outcome
from streetgauge.outcomes.sources import Source, sources

__all__ = ["Source", "deciles", "sources"]
