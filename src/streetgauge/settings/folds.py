"""``[folds]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, Strict, StrictBool, model_validator

from streetgauge.settings.base import Name, Positive, Settings, Share, Text

__all__ = ["FOLD_KINDS", "FoldKind", "FoldSettings"]

FoldKind = Literal["random", "spatial", "stored", "class", "none"]
# Those that a study can have both of, as people call them.
FOLD_KINDS = {"random": "random folds", "spatial": "spatial folds"}

_NOT_BOTH = ("train-only", "test-only")  # schemes that do not both train and test


class FoldSettings(Settings):
    """``[folds]``: which areas the networks learn from, and on which they are tested."""

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
        description="what is kept whole besides areas: `msoa`, `district` or a column of "
        "`areas.columns`; `location` keeps nothing whole, and leaks",
    )
    buffer: Annotated[float, Strict(), Field(ge=0)] = Field(
        0.0, description="metres around tested locations in which nothing is learned from"
    )
    block: Positive | None = Field(None, description="side of the square blocks in metres")
    group: Text | None = Field(
        None, description="column of leave-one-group-out, as for `unit`: `district`, say"
    )
    outcome: Name | None = Field(None, description="the outcome whose classes by-class tests on")
    classes: tuple[Annotated[int, Strict(), Field(ge=1)], ...] = Field(
        (), description="the classes that by-class tests on, e.g. [1, 10]"
    )
    train_size: Annotated[float, Strict(), Field(gt=0, le=1)] = Field(
        1.0, description="share of what a network could learn from that it does learn from"
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

    @model_validator(mode="after")
    def _keys_fit_the_scheme(self) -> Self:
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
                raise ValueError(f'{key!r} is not used with scheme = "{self.scheme}"; remove it')
            if not given and self.scheme in schemes and fields[key].default in (None, ()):
                raise ValueError(f'scheme = "{self.scheme}" needs {key!r}')
        if self.unit == "location" and (
            self.buffer or self.scheme in ("blocks", "leave-one-group-out", "by-class")
        ):
            raise ValueError('unit = "location" splits areas: it goes with no spatial scheme')
        if self.buffer and self.scheme in _NOT_BOTH:
            raise ValueError("'buffer' needs a scheme that both trains and tests")
        if self.other_block is not None and self.other_kind != "spatial":
            raise ValueError(
                "'other_block' is the side of blocks beside random folds, and there are none here"
            )
        if self.file is not None and self.scheme != "k-fold":
            raise ValueError("'file' says how locations are split; remove 'scheme'")
        return self

    @property
    def kind(self) -> FoldKind:
        """What an area's neighbours are when it is tested: mostly learned from, or held out too.

        ``stored`` folds may be either, ``class`` holds out no places but classes, and ``none`` does
        not both train and test.
        """
        if self.file is not None:
            return "stored"
        if self.scheme in _NOT_BOTH:
            return "none"
        if self.scheme == "by-class":
            return "class"
        larger = self.unit not in ("area", "location")
        places = self.scheme in ("blocks", "leave-one-group-out")
        return "spatial" if places or larger or self.buffer else "random"

    @property
    def other_kind(self) -> Literal["random", "spatial"] | None:
        """Of which kind the folds beside these are, if there are to be any."""
        if not self.other_folds or self.kind in ("class", "none"):
            return None
        return "random" if self.kind == "spatial" else "spatial"
