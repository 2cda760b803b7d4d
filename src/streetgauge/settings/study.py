"""The whole of study.toml."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from streetgauge.settings.areas import AreaSettings
from streetgauge.settings.base import Name, Settings, Text
from streetgauge.settings.evaluation import EvaluationSettings
from streetgauge.settings.features import FeatureSettings, ImageFeatures
from streetgauge.settings.folds import FoldSettings
from streetgauge.settings.imagery import ImagerySettings
from streetgauge.settings.locations import DirectoryLocations, LocationSettings
from streetgauge.settings.open_imagery import ImagerySource
from streetgauge.settings.outcomes import DecileSettings, OutcomeSettings
from streetgauge.settings.report import ReportSettings
from streetgauge.settings.train import TrainSettings, TransferSettings

__all__ = ["StudySettings"]


class StudySettings(Settings):
    """The whole of study.toml."""

    name: Text = Field(description="what the study is called")
    note: Text | None = Field(None, description="shown in the report")
    seed: Annotated[int, Strict(), Field(ge=0, lt=2**32)] = Field(
        2019, description="of everything random: folds, training, bootstrap"
    )
    areas: AreaSettings
    outcomes: Annotated[dict[Name, OutcomeSettings], Field(min_length=1)]
    deciles: DecileSettings = DecileSettings()
    locations: LocationSettings
    imagery: ImagerySource | None = None
    features: FeatureSettings = ImageFeatures()
    folds: FoldSettings = FoldSettings()
    train: TrainSettings = TrainSettings()
    transfer: TransferSettings | None = None
    evaluation: EvaluationSettings = EvaluationSettings()
    report: ReportSettings = ReportSettings()

    @property
    def image_rights(self) -> dict[str, str | None]:
        """What the study says of its own images' licence and of who made them."""
        own = self.imagery if isinstance(self.imagery, ImagerySettings) else None
        return {
            "licence": None if own is None else own.licence,
            "attribution": None if own is None else own.attribution,
        }

    @model_validator(mode="after")
    def _what_is_tuned_is_there(self) -> Self:
        if self.train.tune != TrainSettings().tune:
            raise ValueError("what is tuned is said in [transfer]; move 'tune' there")
        if self.folds.scheme == "test-only" and self.transfer is None:
            raise ValueError(
                'folds.scheme = "test-only" tests a model that is there; name it: [transfer] from'
            )
        if self.transfer and self.transfer.curve and self.folds.kind == "none":
            raise ValueError(
                "'curve' under [transfer] needs areas to learn from and others to test on, which "
                f'folds.scheme = "{self.folds.scheme}" does not have; take another scheme'
            )
        return self

    @model_validator(mode="after")
    def _earlier_releases_are_outcomes(self) -> Self:
        for outcome, earlier in self.evaluation.previous.items():
            for name in (outcome, earlier):
                if name not in self.outcomes:
                    raise ValueError(
                        f"evaluation.previous names {name!r}, which is no outcome of the study"
                    )
            if outcome == earlier:
                raise ValueError(f"evaluation.previous makes {outcome!r} its own earlier release")
        return self

    @model_validator(mode="after")
    def _published_deciles_make_the_classes(self) -> Self:
        for name, outcome in self.outcomes.items():
            published = outcome.deciles == "published" and outcome.source == "deprivation"
            if published and 10 % self.deciles.classes:
                raise ValueError(
                    f'deciles = "published" of outcome {name!r} cannot be put together to '
                    f"{self.deciles.classes} classes; use 2, 5 or 10"
                )
        return self

    @model_validator(mode="after")
    def _areas_come_from_somewhere(self) -> Self:
        if self.areas.file is None and not isinstance(self.locations, DirectoryLocations):
            raise ValueError(
                "[areas] names no file, which only a postcode directory can stand in for; add "
                f"areas.file, or take a directory instead of source = {self.locations.source!r}"
            )
        return self

    @model_validator(mode="after")
    def _shown_pictures_have_a_licence(self) -> Self:
        if self.report.images is True:
            if self.imagery is None:
                raise ValueError("report.images = true, but the study has no [imagery]")
            own = isinstance(self.imagery, ImagerySettings)
            if own and self.image_rights["licence"] is None:
                raise ValueError(
                    "report.images = true, but imagery.licence does not say what allows showing "
                    "them; add it, or remove report.images"
                )
        return self

    @model_validator(mode="after")
    def _pictures_have_a_place(self) -> Self:
        if self.features.source == "images" and self.imagery is None:
            raise ValueError(
                "features from images need an [imagery] section that says where they are"
            )
        if self.features.source != "images" and self.imagery is not None:
            raise ValueError(
                f'[imagery] is not used with features.source = "{self.features.source}"; remove it'
            )
        return self
