"""``[train]`` and ``[transfer]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Strict, StrictBool

from streetgauge.settings.base import Device, HubAddress, Positive, Settings

__all__ = ["TrainSettings", "TransferSettings"]


class TrainSettings(Settings):
    """``[train]``: the network and how it learns."""

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
        description="units of the first layer that looks at a view; the next two have half and a "
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
        0.5, description="share of a location's pooled values left out, training only"
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
        description="learn from lines between two locations, not from the locations themselves",
    )
    sample_weighting: Literal["areas", "locations"] = Field(
        "areas",
        description="what counts the same in learning: every area, however many locations it has, "
        "or every location",
    )
    noise: Annotated[float, Strict(), Field(ge=0)] = Field(
        0.0, description="sd of Gaussian noise on standardised features, training only"
    )
    patience: Annotated[int, Strict(), Field(ge=1)] = Field(
        4,
        description="looks at the validation part (after every epoch, and within one after every "
        "16,384 locations) without a lower loss before an outcome stops",
    )
    components: Annotated[int, Strict(), Field(ge=1)] | None = Field(
        None,
        description="learn from so many principal components of the features, not from all: "
        "several times as fast, a little less exact",
    )
    tune: Literal["all", "scaled", "head"] = Field(
        "all",
        description="what moves when a trained model is tuned further: all layers, those that "
        "look at views at a tenth of the rate, or only those after the pooling",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the products; auto takes bfloat16 where the processor has it"
    )
    memory: Positive = Field(
        8.0, description="GiB that features may take while learning, in all folds together"
    )
    device: Device = "auto"


class TransferSettings(Settings):
    """``[transfer]``: go on from a trained model, instead of learning from nothing."""

    bundle: HubAddress | Path = Field(
        alias="from",
        description="a bundle's directory, or hf://user/name@revision; outcomes match by name",
    )
    share: Annotated[float, Strict(), Field(ge=0, le=1)] = Field(
        1.0, description="of the areas that can be learned from; 0: the model as it is"
    )
    tune: Literal["all", "scaled", "head"] = Field(
        "scaled",
        description="what moves: all layers, those that look at views at a tenth of the rate, or "
        "only those after the pooling",
    )
    curve: StrictBool = Field(
        False,
        description="also measure 0, 1, 2, 5, 10, 25 and 100 % of the areas, with the model and "
        "from nothing",
    )
