"""Memory that does not suffice is one sentence, wherever it was noticed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from streetgauge.errors import InputError
from streetgauge.model import fit_model
from streetgauge.model.network import Network
from streetgauge.model.optimiser import Adam
from streetgauge.model.reading import Reader, Standardisation
from streetgauge.model.training import train_network
from streetgauge.settings import FoldSettings, TrainSettings
from streetgauge.splits import make_splits

RAISED = [
    MemoryError("Unable to allocate 8.00 GiB for an array with shape (1, 2)"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes."),
    RuntimeError("MPS backend out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    RuntimeError("could not create a primitive"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


def fit(world: Any, memory: float = 8.0) -> Any:
    settings = TrainSettings(epochs=1, ensemble_size=1, device="cpu", batch=16, memory=memory)
    folds = FoldSettings(scheme="train-only", validation=0.2)
    (split,) = make_splits(folds, world.areas, world.deciles, seed=3)
    return fit_model(world.data(["a", "b"]), split, settings, seed=3)[0]


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", RAISED, ids=lambda error: f"{type(error).__name__} {error}"[:40])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Adam, "step"), (Network, "forward"), (Reader, "_window"), (Reader, "batch")],
    ids=["step", "scoring", "window", "batch"],
)
def test_what_to_lower_is_said_when_training_runs_out_of_memory(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, error: Exception
) -> None:
    monkeypatch.setattr(owner, name, failing(error))
    with pytest.raises(InputError, match=r"memory: it does not suffice.*'train\.batch'") as caught:
        fit(make_world(), memory=1e-6)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", RAISED, ids=lambda error: f"{type(error).__name__} {error}"[:40])
def test_predicting_says_it_too(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    world = make_world()
    model = fit(world)
    monkeypatch.setattr(Reader, "batch", failing(error))
    with pytest.raises(InputError, match=r"memory: it does not suffice.*fewer locations"):
        model.predict(world.features, world.present)
    with pytest.raises(InputError, match="memory: it does not suffice"):
        model.member_scores(world.features, world.present, np.arange(3))


def test_what_comes_before_and_after_the_steps_is_covered_and_so_is_a_training_alone(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Standardisation, "of", failing(MemoryError()))
    with pytest.raises(InputError, match=r"'train\.memory' or 'train\.ensemble_size'"):
        fit(make_world())
    world = make_world()
    rows = np.arange(100)
    with pytest.raises(InputError, match=r"'train\.memory' or 'train\.ensemble_size'"):
        train_network(
            world.data(["a", "b"]),
            (rows, rows[:0]),
            TrainSettings(device="cpu"),
            seed=1,
            network_seeds=[1, 2],
        )


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes differ"),
        RuntimeError("could not create a primitive descriptor for a matmul primitive"),
        OSError(errno.EIO, "broken"),
    ],
)
def test_other_errors_stay_what_they_are(
    make_world: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Adam, "step", failing(error))
    with pytest.raises(type(error), match=str(error.args[-1])):
        fit(make_world())
