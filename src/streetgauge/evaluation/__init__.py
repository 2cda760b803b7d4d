"""From locations to areas: deciles with intervals, how good they are, and what needs no image."""

from streetgauge.classes import equal_count
from streetgauge.evaluation.aggregate import RULES, aggregate
from streetgauge.evaluation.applicability import (
    AreaOfApplicability,
    assess_applicability,
    evaluate_applicability,
    is_outside_aoa,
)
from streetgauge.evaluation.comparison import Drawn, compare_areas, compare_figures, draw_metrics
from streetgauge.evaluation.coverage import FEW_LOCATIONS, add_coverage, mark
from streetgauge.evaluation.disagreement import add_disagreement, disagreement_account
from streetgauge.evaluation.evaluate import evaluate
from streetgauge.evaluation.geography import (
    area_coordinates,
    location_coordinates,
    metric_crs,
    positions_of_areas,
)
from streetgauge.evaluation.headline import headline, shuffled_account
from streetgauge.evaluation.intervals import interval_account, intervals
from streetgauge.evaluation.layers import layer_table, write_geopackage, write_geoparquet
from streetgauge.evaluation.levels import Level, raise_level, units_of_areas
from streetgauge.evaluation.metrics import METRICS, confusion_matrix, measure
from streetgauge.evaluation.population import area_people, location_people, read_population
from streetgauge.evaluation.probabilities import probability_account
from streetgauge.evaluation.scheme import class_counts, describe_scheme, split_areas, training_areas
from streetgauge.evaluation.structure import Neighbours, error_clusters, moran, structure

__all__ = [
    "FEW_LOCATIONS",
    "Level",
    "METRICS",
    "RULES",
    "Drawn",
    "AreaOfApplicability",
    "Neighbours",
    "add_coverage",
    "add_disagreement",
    "aggregate",
    "area_coordinates",
    "area_people",
    "class_counts",
    "compare_areas",
    "compare_figures",
    "confusion_matrix",
    "describe_scheme",
    "disagreement_account",
    "draw_metrics",
    "equal_count",
    "error_clusters",
    "evaluate",
    "headline",
    "interval_account",
    "intervals",
    "is_outside_aoa",
    "layer_table",
    "training_areas",
    "location_coordinates",
    "location_people",
    "mark",
    "measure",
    "metric_crs",
    "moran",
    "positions_of_areas",
    "probability_account",
    "raise_level",
    "read_population",
    "shuffled_account",
    "structure",
    "split_areas",
    "evaluate_applicability",
    "assess_applicability",
    "units_of_areas",
    "write_geopackage",
    "write_geoparquet",
]
