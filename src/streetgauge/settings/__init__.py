"""study.toml as frozen, typed settings: a module for each section, and one that reads them all."""

from streetgauge.settings.areas import (
    AreaSettings,
    DirectoryLocations,
    LocationSettings,
    PointLocations,
    TableLocations,
)
from streetgauge.settings.base import Device, Url, broken_rule
from streetgauge.settings.evaluation import EvaluationSettings, PopulationSettings, ReportSettings
from streetgauge.settings.features import (
    ClusterSettings,
    ConceptSettings,
    FeatureSettings,
    ImageFeatures,
    RasterFeatures,
    SimulatedFeatures,
    TableFeatures,
)
from streetgauge.settings.imagery import (
    ImagerySettings,
    ImagerySource,
    MapillaryImagery,
    OpenImagery,
    PanoramaxImagery,
)
from streetgauge.settings.outcomes import (
    CensusOutcome,
    DecileSettings,
    DeprivationOutcome,
    IncomeOutcome,
    OutcomeSettings,
    TableOutcome,
    WeightSettings,
)
from streetgauge.settings.study import (
    SettingsError,
    StudySettings,
    input_files,
    read_settings,
)
from streetgauge.settings.train import (
    FOLD_KINDS,
    CoverageSettings,
    FoldKind,
    FoldSettings,
    TrainSettings,
    TransferSettings,
)

__all__ = [
    "AreaSettings",
    "CensusOutcome",
    "ClusterSettings",
    "ConceptSettings",
    "CoverageSettings",
    "DecileSettings",
    "DeprivationOutcome",
    "DirectoryLocations",
    "EvaluationSettings",
    "FeatureSettings",
    "FOLD_KINDS",
    "FoldKind",
    "FoldSettings",
    "ImagerySettings",
    "ImagerySource",
    "IncomeOutcome",
    "LocationSettings",
    "MapillaryImagery",
    "OpenImagery",
    "OutcomeSettings",
    "PanoramaxImagery",
    "ImageFeatures",
    "PointLocations",
    "PopulationSettings",
    "RasterFeatures",
    "ReportSettings",
    "SettingsError",
    "SimulatedFeatures",
    "StudySettings",
    "TableFeatures",
    "TableLocations",
    "TableOutcome",
    "TrainSettings",
    "TransferSettings",
    "Url",
    "WeightSettings",
    "Device",
    "broken_rule",
    "input_files",
    "read_settings",
]
