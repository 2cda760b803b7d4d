"""From locations to areas: deciles with intervals, how good they are, and what needs no image."""

from streetgauge.classes import equal_count
from streetgauge.evaluation.aggregate import RULES, aggregate, classes_between, cut_points
from streetgauge.evaluation.applicability import (
    AreaOfApplicability,
    assess_applicability,
    evaluate_applicability,
    is_outside_aoa,
)
from streetgauge.evaluation.area_facts import (
    FEW_LOCATIONS,
    add_coverage,
    area_people,
    location_people,
    mark,
    read_population,
    tested_areas,
)
from streetgauge.evaluation.comparison import (
    Drawn,
    Operand,
    compare_areas,
    compare_figures,
    draw_metrics,
    evaluate_shuffled,
    headline,
)
from streetgauge.evaluation.concepts import Draws, associations, readable_model, worst_and_best
from streetgauge.evaluation.evaluate import EvaluationInputs, evaluate
from streetgauge.evaluation.intervals import evaluate_intervals, intervals
from streetgauge.evaluation.layers import AreaLayers, layer_table
from streetgauge.evaluation.levels import Level, raise_level, units_of_areas
from streetgauge.evaluation.metrics import METRICS, confusion_matrix, measure
from streetgauge.evaluation.probabilities import evaluate_probabilities
from streetgauge.evaluation.scheme import class_counts, describe_scheme, split_areas, training_areas
from streetgauge.evaluation.structure import (
    Neighbours,
    area_coordinates,
    error_clusters,
    location_coordinates,
    location_means,
    metric_crs,
    moran,
    positions_of_areas,
    structure,
)
from streetgauge.evaluation.trust import add_disagreement, evaluate_disagreement

__all__ = [
    "AreaLayers",
    "Operand",
    "EvaluationInputs",
    "FEW_LOCATIONS",
    "Level",
    "METRICS",
    "RULES",
    "Drawn",
    "Draws",
    "AreaOfApplicability",
    "Neighbours",
    "add_coverage",
    "add_disagreement",
    "aggregate",
    "area_coordinates",
    "area_people",
    "associations",
    "class_counts",
    "classes_between",
    "cut_points",
    "compare_areas",
    "compare_figures",
    "confusion_matrix",
    "describe_scheme",
    "evaluate_disagreement",
    "draw_metrics",
    "equal_count",
    "error_clusters",
    "evaluate",
    "headline",
    "evaluate_intervals",
    "intervals",
    "is_outside_aoa",
    "layer_table",
    "training_areas",
    "location_coordinates",
    "location_means",
    "location_people",
    "mark",
    "measure",
    "metric_crs",
    "moran",
    "positions_of_areas",
    "evaluate_probabilities",
    "raise_level",
    "readable_model",
    "read_population",
    "evaluate_shuffled",
    "structure",
    "tested_areas",
    "split_areas",
    "evaluate_applicability",
    "assess_applicability",
    "units_of_areas",
    "worst_and_best",
]
