"""``[folds]``, ``[train]``, ``[coverage]`` and ``[transfer]``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, StrictBool

from streetgauge.settings.base import (
    Device,
    HubAddress,
    Name,
    Positive,
    Settings,
    Share,
    Text,
    rule,
)

FoldKind = Literal["random", "spatial", "stored", "class", "none"]
# Those that a study can have both of, as people call them.
FOLD_KINDS = {"random": "random folds", "spatial": "spatial folds"}

_NOT_BOTH = ("train-only", "test-only")  # schemes that do not both train and test


class FoldSettings(Settings):
    """``[folds]``: the areas that networks are trained on, and those they are tested on."""

    scheme: Literal[
        "k-fold",
        "blocks",
        "leave-one-group-out",
        "train-validation-test",
        "train-test",
        "by-class",
        "train-only",
        "test-only",
    ] = Field("k-fold", description="how locations are split")
    k: Annotated[int, Strict(), Field(ge=2)] = Field(5, description="folds of k-fold and of blocks")
    validation: Share = Field(
        0.15, description="share of the training areas that only early stopping sees"
    )
    test: Share = Field(
        0.2, description="share of the areas that train-validation-test and train-test test on"
    )
    unit: Text = Field(
        "area",
        description="what stays whole besides areas: `msoa`, `district` or a column of "
        "`areas.columns`; `location` splits areas, and leaks",
    )
    buffer: Annotated[float, Strict(), Field(ge=0)] = Field(
        0.0, description="metres around tested locations in which nothing is trained on"
    )
    block: Positive | None = Field(None, description="side of the square blocks in metres")
    group: Text | None = Field(
        None, description="column of leave-one-group-out, as for `unit`, e.g. `district`"
    )
    outcome: Name | None = Field(None, description="the outcome whose classes by-class tests on")
    classes: tuple[Annotated[int, Strict(), Field(ge=1)], ...] = Field(
        (), description="the classes that by-class tests on, e.g. [1, 10]"
    )
    train_size: Annotated[float, Strict(), Field(gt=0, le=1)] = Field(
        1.0, description="share of the available training data that is used"
    )
    train_size_unit: Literal["areas", "locations"] = Field(
        "areas", description="what that is a share of"
    )
    final: StrictBool = Field(
        True, description="train one more network on all areas, for other cities"
    )
    other_folds: StrictBool = Field(
        True,
        description="also train and test in folds of the other kind: in square blocks where these "
        "folds are at random, in random folds where these are spatial",
    )
    other_block: Positive | None = Field(
        None,
        description="side of those blocks in metres; if unset, such that there are about 40",
    )
    file: Path | None = Field(
        None, description="folds.parquet or splits.parquet of another study, used again"
    )
    shared_images: Literal["exclude", "allow"] = Field(
        "exclude",
        description="whether views that stand in a test part too, by their image or by their "
        "features, are trained on",
    )

    @rule
    def _keys_fit_the_scheme(self) -> Iterator[str]:
        belongs = {
            "k": ("k-fold", "blocks"),
            "test": ("train-validation-test", "train-test"),
            "block": ("blocks",),
            "group": ("leave-one-group-out",),
            "outcome": ("by-class",),
            "classes": ("by-class",),
        }
        fields = type(self).model_fields
        for key, schemes in belongs.items():
            given = getattr(self, key) != fields[key].default
            if given and self.scheme not in schemes:
                yield f'{key!r} is not used with scheme = "{self.scheme}"; remove it'
            if not given and self.scheme in schemes and fields[key].default in (None, ()):
                yield f'scheme = "{self.scheme}" needs {key!r}'

    @rule
    def _the_scheme_fits_the_rest(self) -> Iterator[str]:
        if self.unit == "location" and (
            self.buffer or self.scheme in ("blocks", "leave-one-group-out", "by-class")
        ):
            yield 'unit = "location" splits areas, so it goes with no spatial scheme; remove one'
        if self.buffer and self.scheme in _NOT_BOTH:
            yield "'buffer' needs a scheme that both trains and tests"
        if self.file is not None and self.scheme != "k-fold":
            yield "'file' has the split of locations; remove 'scheme'"

    @rule
    def _other_block_has_other_folds(self) -> Iterator[str]:
        if self.other_block is not None and self.other_kind != "spatial":
            yield (
                "'other_block' is the block size next to random folds, which this study "
                "lacks; remove it"
            )

    @property
    def kind(self) -> FoldKind:
        """What an area's neighbours are when it is tested: mostly trained on, or held out too.

        ``stored`` folds may be either, ``class`` holds out classes, not areas, and ``none`` does
        not both train and test.
        """
        if self.file is not None:
            return "stored"
        if self.scheme in _NOT_BOTH:
            return "none"
        if self.scheme == "by-class":
            return "class"
        larger = self.unit not in ("area", "location")
        held_out = self.scheme in ("blocks", "leave-one-group-out")
        return "spatial" if held_out or larger or self.buffer else "random"

    @property
    def other_kind(self) -> Literal["random", "spatial"] | None:
        """Of which kind the other folds are, if there are to be any."""
        if not self.other_folds or self.kind in ("class", "none"):
            return None
        return "random" if self.kind == "spatial" else "spatial"


class TrainSettings(Settings):
    """``[train]``: the learner and its training."""

    learner: Literal["stack", "network", "kernel", "ridge"] = Field(
        "stack",
        description="a network; Gaussian processes on areas as bags of views (kernel); a Bayesian "
        "ridge on their mean features; or a weighted mean of the three; the other settings are of "
        "the network",
    )
    network: Literal["shared", "port-2020", "paper-2019"] = Field(
        "shared",
        description="one trunk that all outcomes share; or one network an outcome, with the "
        "paper's layers without and with batch normalisation",
    )
    pooling: Literal["mean", "attention"] = Field(
        "mean", description="how the views of a location are put together"
    )
    width: Annotated[int, Strict(), Field(ge=1)] | None = Field(
        None,
        description="units of the first layer of a view; the next two have half and a "
        "quarter (at least 64), the layer of a location has 64, and none more than the first; "
        "if not given, 512, or 128 on components",
    )
    ensemble_size: Annotated[int, Strict(), Field(ge=1, le=64)] = Field(
        5,
        description="networks whose scores are averaged, each stopped early by other areas",
    )
    head: Literal["binomial", "clm", "emd", "exponential"] = Field(
        "binomial", description="what makes classes of the network's output"
    )
    dropout: Annotated[float, Strict(), Field(ge=0, lt=1)] = Field(
        0.5, description="share of a location's pooled values dropped, training only"
    )
    source_dropout: Annotated[float, Strict(), Field(ge=0, lt=1)] = Field(
        0.0,
        description="share of a location's sources removed, in training only, but never all: "
        "a bundle then also serves a city that lacks a source",
    )
    epochs: Annotated[int, Strict(), Field(ge=1)] = Field(40, description="at most so many")
    batch: Annotated[int, Strict(), Field(ge=2)] = Field(128, description="locations at a time")
    learning_rate: Positive = Field(1e-3, description="3e-3 suits paper-2019")
    schedule: Literal["constant", "cosine", "plateau"] = Field(
        "constant", description="how the learning rate falls over the epochs"
    )
    weight_decay: Annotated[float, Strict(), Field(ge=0)] = Field(1e-4, description="L2, Adam's")
    mixup: StrictBool = Field(
        True,
        description="train on lines between two locations, not on the locations themselves",
    )
    sample_weighting: Literal["areas", "locations"] = Field(
        "areas",
        description="what counts the same in training: every area, however many locations it has, "
        "or every location",
    )
    noise: Annotated[float, Strict(), Field(ge=0)] = Field(
        0.0, description="sd of Gaussian noise on standardised features, training only"
    )
    patience: Annotated[int, Strict(), Field(ge=1)] = Field(
        3,
        description="evaluation steps on the validation part (after every epoch and every 16,384 "
        "locations) without a lower loss before an outcome stops",
    )
    components: Annotated[int, Strict(), Field(ge=1)] | None = Field(
        None,
        description="train on so many principal components of the features, not on all: "
        "several times as fast, a little less exact",
    )
    tune: Literal["correction", "all", "scaled", "head"] = Field(
        "all",
        description="what labels do to a model that is there: correct it as it is; or move all "
        "layers, those before the pooling at a tenth of the rate, or only those after the pooling",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the products; auto takes bfloat16 where the processor has it"
    )
    memory: Positive = Field(
        8.0, description="GiB that features may take in training, in all folds together"
    )
    device: Device = "auto"


class CoverageSettings(Settings):
    """``[coverage]``: let the areas that have images stand for those that have none."""

    weights: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        description="columns of `areas.columns`, or `district`, from which the probability that an "
        "area has images is estimated; training weights areas by its inverse",
    )


class TransferSettings(Settings):
    """``[transfer]``: go on from a trained model, instead of training from scratch."""

    bundle: HubAddress | Path = Field(
        alias="from",
        description="a bundle's directory, or hf://user/name@revision; outcomes match by name",
    )
    share: Annotated[float, Strict(), Field(ge=0, le=1)] = Field(
        1.0, description="of the areas that can be trained on; 0: the model as it is"
    )
    tune: Literal["correction", "all", "scaled", "head"] = Field(
        "correction",
        description="what labels do: correct the model as it is, where that lowers the error of "
        "areas that are held out; or move its network, all layers, those before the pooling at a "
        "tenth of the rate, or only those after the pooling",
    )
    curve: StrictBool = Field(
        False,
        description="also measure 0, 1, 2, 5, 10, 25 and 100% of the areas, with the model and "
        "from scratch",
    )
