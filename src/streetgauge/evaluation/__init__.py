"""From locations to areas: deciles with intervals, how good they are, and what needs no image."""

from streetgauge.classes import equal_count as equal_count
from streetgauge.evaluation.aggregate import RULES as RULES
from streetgauge.evaluation.aggregate import aggregate as aggregate
from streetgauge.evaluation.aggregate import classes_between
from streetgauge.evaluation.aggregate import cut_points as cut_points
from streetgauge.evaluation.applicability import AreaOfApplicability as AreaOfApplicability
from streetgauge.evaluation.applicability import assess_applicability as assess_applicability
from streetgauge.evaluation.applicability import evaluate_applicability as evaluate_applicability
from streetgauge.evaluation.applicability import is_outside_aoa as is_outside_aoa
from streetgauge.evaluation.area_facts import FEW_LOCATIONS as FEW_LOCATIONS
from streetgauge.evaluation.area_facts import add_coverage as add_coverage
from streetgauge.evaluation.area_facts import area_people as area_people
from streetgauge.evaluation.area_facts import location_people as location_people
from streetgauge.evaluation.area_facts import mark as mark
from streetgauge.evaluation.area_facts import read_population as read_population
from streetgauge.evaluation.area_facts import tested_areas
from streetgauge.evaluation.comparison import Drawn as Drawn
from streetgauge.evaluation.comparison import Operand as Operand
from streetgauge.evaluation.comparison import compare_areas as compare_areas
from streetgauge.evaluation.comparison import compare_figures as compare_figures
from streetgauge.evaluation.comparison import draw_metrics as draw_metrics
from streetgauge.evaluation.comparison import evaluate_shuffled as evaluate_shuffled
from streetgauge.evaluation.comparison import headline as headline
from streetgauge.evaluation.concepts import Draws as Draws
from streetgauge.evaluation.concepts import associations as associations
from streetgauge.evaluation.concepts import readable_model as readable_model
from streetgauge.evaluation.concepts import worst_and_best as worst_and_best
from streetgauge.evaluation.evaluate import EvaluationInputs as EvaluationInputs
from streetgauge.evaluation.evaluate import evaluate as evaluate
from streetgauge.evaluation.intervals import evaluate_intervals as evaluate_intervals
from streetgauge.evaluation.intervals import intervals as intervals
from streetgauge.evaluation.layers import AreaLayers as AreaLayers
from streetgauge.evaluation.layers import layer_table as layer_table
from streetgauge.evaluation.levels import Level as Level
from streetgauge.evaluation.levels import raise_level as raise_level
from streetgauge.evaluation.levels import units_of_areas as units_of_areas
from streetgauge.evaluation.metrics import METRICS, confusion_matrix, measure
from streetgauge.evaluation.probabilities import evaluate_probabilities as evaluate_probabilities
from streetgauge.evaluation.scheme import class_counts as class_counts
from streetgauge.evaluation.scheme import describe_scheme as describe_scheme
from streetgauge.evaluation.scheme import split_areas as split_areas
from streetgauge.evaluation.scheme import training_areas as training_areas
from streetgauge.evaluation.structure import Neighbours as Neighbours
from streetgauge.evaluation.structure import area_coordinates as area_coordinates
from streetgauge.evaluation.structure import error_clusters as error_clusters
from streetgauge.evaluation.structure import location_coordinates
from streetgauge.evaluation.structure import location_means as location_means
from streetgauge.evaluation.structure import metric_crs as metric_crs
from streetgauge.evaluation.structure import moran as moran
from streetgauge.evaluation.structure import positions_of_areas as positions_of_areas
from streetgauge.evaluation.structure import structure as structure
from streetgauge.evaluation.trust import add_disagreement as add_disagreement
from streetgauge.evaluation.trust import evaluate_disagreement as evaluate_disagreement

__all__ = [
    "METRICS",
    "classes_between",
    "confusion_matrix",
    "location_coordinates",
    "measure",
    "tested_areas",
]
