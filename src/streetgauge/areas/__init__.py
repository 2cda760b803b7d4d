"""From locations to areas: deciles with intervals, how good they are, and what needs no picture."""

from streetgauge.areas.aggregate import aggregate, intervals
from streetgauge.areas.evaluate import evaluate
from streetgauge.areas.geography import (
    area_coordinates,
    location_coordinates,
    metric_crs,
    write_geopackage,
)
from streetgauge.areas.metrics import METRICS, confusion_matrix, measure
from streetgauge.areas.scheme import class_counts, describe_scheme, learned_areas, torn_areas
from streetgauge.classes import equal_count

__all__ = [
    "METRICS",
    "aggregate",
    "area_coordinates",
    "class_counts",
    "confusion_matrix",
    "describe_scheme",
    "equal_count",
    "evaluate",
    "intervals",
    "learned_areas",
    "location_coordinates",
    "measure",
    "metric_crs",
    "torn_areas",
    "write_geopackage",
]
