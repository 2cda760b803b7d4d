"""How a model is made: balanced, trained, put on the scale of the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from streetgauge.devices import choose_device
from streetgauge.errors import InputError
from streetgauge.model import binomial
from streetgauge.model.calibration import Scored, calibrate, sharpen
from streetgauge.model.checkpoint import Checkpoint
from streetgauge.model.heads import check_labels
from streetgauge.model.memory import LEARNING, enough_memory
from streetgauge.model.model import Floats, Model, TrainingRecord, head_probabilities
from streetgauge.model.network import Network
from streetgauge.model.reading import Reader, Rows, Standardisation, spread
from streetgauge.model.scoring import scores_of
from streetgauge.model.training import (
    EpochFigures,
    Samples,
    TrainedNetwork,
    balanced_weights,
    train_network,
)
from streetgauge.model.transfer_calibration import anchor, untested
from streetgauge.seeds import derive_seed
from streetgauge.settings import TrainSettings
from streetgauge.splits.folds import area_folds
from streetgauge.splits.schemes import Split

__all__ = ["fit_model", "held_aside"]

ENOUGH = 4096  # locations that show the offset of a network's scores
HELD = 20_480  # locations held out from the networks that show the spread of their scores


@enough_memory(LEARNING)
def fit_model(
    features: NDArray[np.float32],
    present: NDArray[np.bool_],
    target: ArrayLike,
    areas: NDArray[Any],
    split: Split,
    outcomes: Sequence[str],
    settings: TrainSettings,
    *,
    seed: int,
    location_ids: NDArray[Any] | None = None,
    classes: int = 10,
    sample_weight: ArrayLike | None = None,
    start: Model | None = None,
    checkpoint: Checkpoint | None = None,
    on_epoch: Callable[[int, EpochFigures], Any] = lambda member, figures: None,
    sharing: int = 1,
) -> tuple[Model, TrainingRecord]:
    """Train on the training part of a split: balance, train, calibrate on the validation part.

    Parameters
    ----------
    features : array of float32, shape [N, V, D]
        May be a memory map.
    present : array of bool, shape [N, V]
        Which views are there; at least one of every row that is used.
    target : array, shape [N, M]
        Classes 1..K, NaN where missing.
    areas : array of str, shape [N]
        Areas, which the split keeps whole.
    split : Split
        Its training and validation parts are looked at, in an order that does not depend on how
        they are stored; its test part is not. Without a validation part one network is trained for
        exactly ``settings.epochs`` epochs, and its scores are shifted but not stretched; several
        set their own parts apart.
    outcomes : sequence of str, length M
        Names; each outcome's first weights follow from its name and the seed alone.
    settings : TrainSettings
        How.
    seed : int
        Same inputs and seed, same model.
    location_ids : array of str, shape [N], optional
        Keys of the rows, whose order counts then, not that of the rows.
    classes : int
        K.
    sample_weight : array, shape [N], optional
        Weights of the locations.
    start : Model, optional
        A model of the same outcomes to go on from: ``settings.tune`` says what moves. Its
        standardisation is kept.
    checkpoint : Checkpoint, optional
        Where the training is kept between epochs.
    on_epoch : callable, optional
        Told the member (1..) and the figures of every epoch.
    sharing : int
        Models that are made at once and share ``settings.memory``.

    Returns
    -------
    Model, TrainingRecord

    Raises
    ------
    InputError
        If an outcome has no label in the training part, or in a validation part that is there;
        or features are no finite numbers, or memory does not suffice.
    """
    target = np.asarray(target, np.float32)
    check_labels(target, classes, outcomes)
    _require_labels(target, split.training, outcomes, "training")
    if len(split.validation):
        _require_labels(target, split.validation, outcomes, "validation")
    start = start and start.absorbed()
    members = 1 if start else settings.ensemble_size
    pool = np.concatenate([split.training, split.validation])
    pool = pool[np.argsort(pool if location_ids is None else location_ids[pool], kind="stable")]
    parts = _parts(split, pool, areas, target, members, seed)
    if settings.sample_weighting == "areas":
        sample_weight = _areas_alike(areas, pool, sample_weight)
    learnt = split.training if members == 1 else pool
    learnt = learnt[~np.isnan(target[learnt]).all(axis=1)]
    scale = start.standardisation if start else Standardisation.of(features, present, learnt)
    trained: list[TrainedNetwork] = []
    for member, (training, stopping) in enumerate(parts, 1):
        purpose = ("member", str(member)) if members > 1 else ()
        weight = balanced_weights(target, training, sample_weight)
        trained.append(
            train_network(
                Samples(features, present, target, weight, classes),
                training[~np.isnan(target[training]).all(axis=1)],
                stopping,
                settings,
                seed=derive_seed(seed, "training", *purpose),
                network_seeds=[derive_seed(seed, "network", o, *purpose) for o in outcomes],
                scale=scale,
                start=start.network if start else None,
                checkpoint=checkpoint and checkpoint.of(member),
                on_epoch=partial(on_epoch, member),
                sharing=sharing,
            )
        )
    weight = balanced_weights(target, learnt, sample_weight)
    samples = Samples(features, present, target, weight, classes)
    first = np.tile([0.0, 1.0], (len(outcomes), 1))
    if start is not None:  # what labels say of the scale is then said of this one
        reader = Reader(features, present, scale, choose_device(settings.device))
        tuned = trained[0].network
        first = anchor(start.network, start.calibration, tuned, reader, untested(split))
        start.network.cpu()
        tuned.cpu()
    model, loss, mae = _on_scale(trained, samples, areas, learnt, parts, first, start)
    stopped = np.concatenate([stopping for _, stopping in parts])
    record = TrainingRecord(
        training_locations=len(learnt),
        training_areas=len(np.unique(areas[learnt])),
        validation_locations=len(stopped),
        validation_areas=len(np.unique(areas[stopped])),
        best_epoch=np.max([one.best_epoch for one in trained], axis=0).tolist(),
        validation_loss=loss,
        validation_mae=mae,
        precision=trained[0].precision,
    )
    return model, record


def held_aside(
    model: Model,
    features: NDArray[np.float32],
    present: NDArray[np.bool_],
    target: NDArray[np.float32],
    areas: NDArray[Any],
    split: Split,
    settings: TrainSettings,
    *,
    seed: int,
    location_ids: NDArray[Any],
) -> tuple[Rows, Floats]:
    """Score what a model of `fit_model` was not told to learn, besides its test part.

    One member scores its validation part, which chose when it stopped and its calibration. Of
    several, each scores the areas that stopped it; its scores are noisier than those of all members
    together.

    Parameters
    ----------
    Those of `fit_model`, of which the model came.

    Returns
    -------
    rows : array of int64, shape [n]
    score : array of float64, shape [n, M]
    """
    pool = np.concatenate([split.training, split.validation])
    pool = pool[np.argsort(location_ids[pool], kind="stable")]
    parts = _parts(split, pool, areas, target, model.network.members, seed)
    rows = np.concatenate([stopping for _, stopping in parts])
    if not len(rows):
        return rows, np.empty((0, len(model.calibration)))
    member = np.repeat(np.arange(len(parts)), [len(stopping) for _, stopping in parts])
    each = model.member_scores(features, present, rows, settings.device)
    return rows, each[np.arange(len(rows)), member]


def _parts(
    split: Split,
    pool: Rows,
    areas: NDArray[Any],
    target: NDArray[np.float32],
    members: int,
    seed: int,
) -> list[tuple[Rows, Rows]]:
    """Training and validation rows of every member.

    One member learns from the training part and is stopped by the validation part. Several learn
    from all areas between them: each is stopped by a share of its own, which the others learn from.
    """
    if members == 1:
        return [(split.training, split.validation)]
    count = len(np.unique(areas[pool]))
    if count < members:
        raise InputError(
            "train.ensemble_size",
            f"{members} members are each stopped by other areas, and there are but {count}",
            f"take ensemble_size = {max(count, 1)} or less, or add areas",
        )
    fold = area_folds(areas[pool], target[pool], members, derive_seed(seed, "members"))
    return [(pool[fold != e], pool[fold == e]) for e in range(1, members + 1)]


def _areas_alike(
    areas: NDArray[Any], pool: Rows, sample_weight: ArrayLike | None
) -> NDArray[np.float64]:
    """Weigh locations by one over how many their area has: what is learnt is the area's.

    Where areas are ranked each counts once, and a label is the area's: its hundredth location says
    nothing of the label that the ninety-nine have not said.
    """
    _, member, count = np.unique(areas[pool], return_inverse=True, return_counts=True)
    weight = np.zeros(len(areas))
    weight[pool] = 1 / count[member]
    return weight if sample_weight is None else weight * np.asarray(sample_weight, np.float64)


def _on_scale(
    trained: Sequence[TrainedNetwork],
    samples: Samples,
    areas: NDArray[Any],
    learnt: Rows,
    parts: Sequence[tuple[Rows, Rows]],
    first: Floats,
    start: Model | None,
) -> tuple[Model, list[float | None], list[float | None]]:
    """Make one model of what was trained, calibrated; give its loss and error where it stopped."""
    stopping = [spread(rows, HELD // len(parts)) for _, rows in parts]
    held = np.concatenate(stopping)
    networks = [one.network for one in trained]
    network = networks[0] if len(networks) == 1 else Network.joined(networks)
    said = torch.cat([one.outputs(rows) for one, rows in zip(trained, stopping, strict=True)])
    h = scores_of(network, said).astype(np.float64)
    calibration = _calibrated(trained, samples, areas, learnt, held, h, first)
    score = calibration[:, 0] + calibration[:, 1] * h
    own = head_probabilities(network, score, said, samples.classes)
    temperature = _temperature(own, score, samples, areas, held, start)
    model = Model(network, trained[0].standardisation, calibration, samples.classes, temperature)
    return model, *_figures(score, samples.target[held], samples.classes)


def _temperature(
    own: Floats,
    score: Floats,
    samples: Samples,
    areas: NDArray[Any],
    held: Rows,
    start: Model | None,
) -> Floats | None:
    """Give each outcome's temperature, from what was said of the rows held out."""
    before = None if start is None else start.temperature
    if not len(held):
        return before
    found = []
    for m in range(score.shape[1]):
        target, weight = samples.target[held, m], samples.weight[held, m]
        known = ~np.isnan(target)
        found.append(
            sharpen(
                own[known, m],
                score[known, m],
                target[known],
                weight[known],
                areas=len(np.unique(areas[held][known])),
                start=None if before is None else before[m],
            )
        )
    return np.array(found, np.float64)


def _calibrated(
    trained: Sequence[TrainedNetwork],
    samples: Samples,
    areas: NDArray[Any],
    training: Rows,
    validation: Rows,
    held: Floats,
    first: Floats,
) -> Floats:
    """Give each outcome's a and b, from scores of `training`, and from `held` of `validation`.

    ``first`` are the a and b that are corrected.
    """
    learnt_areas = len(np.unique(areas[training]))
    training = spread(training, ENOUGH)
    said = torch.stack([one.outputs(training) for one in trained]).mean(0)
    seen = scores_of(trained[0].network, said).astype(np.float64)
    found = []
    for m, (a, b) in enumerate(first):
        target, weight = samples.target[:, m], samples.weight[:, m]
        labelled = validation[~np.isnan(target[validation])]
        shift, slope = calibrate(
            Scored(a + b * seen[:, m], target[training], weight[training]),
            Scored(a + b * held[:, m], target[validation], weight[validation]),
            areas=len(np.unique(areas[labelled])),
            training_areas=learnt_areas,
            classes=samples.classes,
        )
        found.append((shift + slope * a, slope * b))
    return np.array(found, np.float64)


def _figures(
    score: Floats, target: NDArray[np.float32], classes: int
) -> tuple[list[float | None], list[float | None]]:
    """Mean negative log-likelihood and mean absolute error of each outcome, not weighted."""
    if not len(target):
        nothing: list[float | None] = [None] * target.shape[1]
        return nothing, nothing
    losses: list[float | None] = []
    errors: list[float | None] = []
    for h, truth in zip(score.T, target.T, strict=True):
        known = ~np.isnan(truth)
        probability = binomial.probabilities(h[known], classes)
        truth = truth[known].astype(np.int64)
        taken = probability[np.arange(len(truth)), truth - 1]
        losses.append(float(-np.log(np.maximum(taken, np.finfo(np.float64).tiny)).mean()))
        errors.append(float(np.abs(probability.argmax(axis=1) + 1 - truth).mean()))
    return losses, errors


def _require_labels(
    target: NDArray[np.float32], rows: Rows, outcomes: Sequence[str], part: str
) -> None:
    for m, outcome in enumerate(outcomes):
        if np.isnan(target[rows, m]).all():
            raise InputError(
                f"outcome '{outcome}'",
                f"no area of the {part} part has a label",
                "leave the outcome out, use fewer folds or a larger validation share",
            )
