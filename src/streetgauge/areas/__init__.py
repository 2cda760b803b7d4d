"""From locations to areas: deciles with intervals, how good they are, and what needs no picture."""

from streetgauge.areas.aggregate import RULES, aggregate
from streetgauge.areas.comparison import Drawn, compare_areas, compare_figures, draw_metrics
from streetgauge.areas.coverage import FEW_LOCATIONS, add_coverage, mark
from streetgauge.areas.disagreement import add_disagreement, disagreement_account
from streetgauge.areas.evaluate import evaluate
from streetgauge.areas.geography import (
    area_coordinates,
    location_coordinates,
    metric_crs,
    places_of_areas,
)
from streetgauge.areas.headline import headline, shuffled_account
from streetgauge.areas.intervals import interval_account, intervals
from streetgauge.areas.layers import layer_table, write_geopackage, write_geoparquet
from streetgauge.areas.levels import Level, raise_level, units_of_areas
from streetgauge.areas.metrics import METRICS, confusion_matrix, measure
from streetgauge.areas.population import area_people, location_people, read_population
from streetgauge.areas.probabilities import probability_account
from streetgauge.areas.scheme import class_counts, describe_scheme, learned_areas, torn_areas
from streetgauge.areas.structure import Neighbours, error_clusters, moran, structure
from streetgauge.areas.unlike import Familiar, is_unlike, unlike_account, unlike_areas
from streetgauge.classes import equal_count

__all__ = [
    "FEW_LOCATIONS",
    "Level",
    "METRICS",
    "RULES",
    "Drawn",
    "Familiar",
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
    "is_unlike",
    "layer_table",
    "learned_areas",
    "location_coordinates",
    "location_people",
    "mark",
    "measure",
    "metric_crs",
    "moran",
    "places_of_areas",
    "probability_account",
    "raise_level",
    "read_population",
    "shuffled_account",
    "structure",
    "torn_areas",
    "unlike_account",
    "unlike_areas",
    "units_of_areas",
    "write_geopackage",
    "write_geoparquet",
]
