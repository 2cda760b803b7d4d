"""Named, readable features: what each is called, what computes it, and how it is read from that.

A concept comes from an image through a backbone like any feature, so that it is computed, stopped
and resumed like any. Some are all that the backbone gives; others are what a linear layer makes of
its features, as the layer that a network was trained with, or that others have fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streetgauge.errors import InputError, closest
from streetgauge.features.backbones import Backbone
from streetgauge.features.lookup import get_backbone
from streetgauge.features.places import Head, read_head
from streetgauge.features.weights import read_tensors, weights_file
from streetgauge.imagery import APPEARANCE
from streetgauge.settings import ConceptSettings

Floats = npt.NDArray[np.float64]

_APPEARANCE = Backbone(
    name="appearance",
    dimension=len(APPEARANCE),
    layer="greenery, sky, colourfulness, edges",
    weights="",
    sha256="",
    licence="",
    resize=224,
    crop=224,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    architecture="appearance",
    about="measured, not trained",
)


@dataclass(frozen=True)
class ConceptSource:
    """Where some concepts come from.

    Parameters
    ----------
    name : str
        As the settings name it.
    backbone : Backbone
        What computes features of images.
    concepts : tuple of str, [K]
        Their names.
    read : callable
        Features [n, D] -> concepts [n, K].
    measured : tuple of str
        Which measures of `streetgauge.imagery.QUALITY`, that every store has, are concepts, too.
    least : float, optional
        What a concept's mean must reach in some area to be compared at all: a class that is
        likely nowhere is not in the images, whatever its small numbers correlate with.
    """

    name: str
    backbone: Backbone
    concepts: tuple[str, ...]
    read: Callable[[Floats], Floats]
    measured: tuple[str, ...] = ()
    least: float | None = None


def _appearance() -> ConceptSource:
    measured = ("brightness",)
    return ConceptSource("appearance", _APPEARANCE, APPEARANCE, lambda found: found, measured)


LEAST = 0.01  # of the probability of a class


def _scenes() -> ConceptSource:
    return _of_places("scenes", "scene", Head.shares, LEAST)


def _attributes() -> ConceptSource:
    return _of_places("attributes", "attribute", Head.scores, None)


def _of_places(
    kind: str, one: str, read: Callable[[Head, Floats], Floats], least: float | None
) -> ConceptSource:
    backbone = get_backbone("places365-resnet18")
    head = read_head(weights_file(backbone), kind)
    names = tuple(f"{one} {name}" for name in head.names)
    return ConceptSource(f"places-{kind}", backbone, names, partial(read, head), least=least)


def _imagenet() -> ConceptSource:
    """Classes of the default network: its classifier lies with its weights, their names with timm.

    timm's files are read, and timm itself is not loaded.
    """
    backbone = get_backbone("efficientnet-lite0")
    tensors = read_tensors(weights_file(backbone))
    weight, bias = (tensors[f"_fc.{part}"].double().numpy() for part in ("weight", "bias"))
    head = Head(_imagenet_names(), weight, bias)
    names = tuple(f"imagenet {name}" for name in head.names)
    return ConceptSource("imagenet", backbone, names, head.shares, least=LEAST)


def _imagenet_names() -> tuple[str, ...]:
    spec = find_spec("timm")
    folder = Path(spec.origin).parent / "data" / "_info" if spec and spec.origin else Path()
    try:
        lemmas = (folder / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()
        synsets = (folder / "imagenet_synsets.txt").read_text("utf-8").split()
        words = dict(line.split("\t", 1) for line in lemmas)
        short = [words[synset].split(",")[0].strip() for synset in synsets]
    except (OSError, KeyError, ValueError):
        raise InputError(
            "concepts.sources: 'imagenet'", "the names of the classes are not here", "install timm"
        ) from None
    # Two are cranes, the bird and the machine.
    pairs = zip(short, synsets, strict=True)
    return tuple(f"{n} ({synset})" if short.count(n) > 1 else n for n, synset in pairs)


def _segmentation(settings: ConceptSettings) -> ConceptSource:
    from streetgauge.features.segmentation import read_segmenter  # it needs torch

    if settings.segmentation is None:
        raise InputError("concepts.segmentation", "no model is named", "give a folder or hf://...")
    backbone, labels = read_segmenter(settings.segmentation)
    names = tuple(f"segment {label}" for label in labels)
    return ConceptSource("segmentation", backbone, names, lambda found: found, least=LEAST)


def _clip(settings: ConceptSettings) -> ConceptSource:
    from streetgauge.features.families import OpenClip

    if not settings.prompts:
        raise InputError("concepts.prompts", "there are none", "give each concept a text")
    backbone = get_backbone(f"open_clip:{settings.clip}")
    texts = [text for each in settings.prompts.values() for text in each]
    encoded, scale = OpenClip().texts(backbone, weights_file(backbone), texts)
    ends = np.cumsum([len(each) for each in settings.prompts.values()])
    names = tuple(f"prompt {name}" for name in settings.prompts)
    read = partial(_likeness, np.split(encoded, ends[:-1]), scale)
    return ConceptSource("clip", backbone, names, read)


def _likeness(texts: Sequence[Floats], scale: float, features: Floats) -> Floats:
    """Compare images with texts: the cosine, or of several texts the probability of the first."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    images = features / np.where(lengths > 0, lengths, 1)
    found = []
    for each in texts:
        cosines = images @ each.T
        odds = np.exp(scale * (cosines - cosines.max(axis=1, keepdims=True)))
        first = odds[:, 0] / odds.sum(axis=1)
        found.append(cosines[:, 0] if len(each) == 1 else first)
    return np.column_stack(found)


CONCEPT_SOURCES: dict[str, Callable[[ConceptSettings], ConceptSource]] = {
    "appearance": lambda settings: _appearance(),
    "imagenet": lambda settings: _imagenet(),
    "places-scenes": lambda settings: _scenes(),
    "places-attributes": lambda settings: _attributes(),
    "segmentation": _segmentation,
    "clip": _clip,
}


def concept_source(name: str, settings: ConceptSettings | None = None) -> ConceptSource:
    """Give the source of a name, ready to be read.

    Parameters
    ----------
    name : str
        One of `CONCEPT_SOURCES`.
    settings : ConceptSettings, optional
        With the model of ``segmentation``, or the prompts of ``clip``.

    Raises
    ------
    InputError
        If there is none of that name, or what it needs is not here.
    """
    if name not in CONCEPT_SOURCES:
        raise InputError(
            f"concepts.sources: {name!r}", "it is not known", closest(name, CONCEPT_SOURCES)
        )
    return CONCEPT_SOURCES[name](settings or ConceptSettings())
