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
from streetgauge.classes import equal_count

__all__ = [
    "METRICS",
    "aggregate",
    "area_coordinates",
    "confusion_matrix",
    "equal_count",
    "evaluate",
    "intervals",
    "location_coordinates",
    "measure",
    "metric_crs",
    "write_geopackage",
]
