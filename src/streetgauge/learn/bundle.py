"""A bundle: the directory with a trained model and all that is needed to use it elsewhere.

``weights.safetensors`` holds the networks, the standardisation and the calibration; ``bundle.json``
says what they are; ``card.md`` says it to a person. Nothing in it is code, and reading runs none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import streetgauge
from streetgauge.errors import InputError
from streetgauge.files import atomic_directory, sha256_of, write_json, write_text
from streetgauge.learn._card import write_card
from streetgauge.learn.model import Model, Predictions, TrainingRecord
from streetgauge.learn.network import Network
from streetgauge.learn.scoring import Standardisation
from streetgauge.settings import Device, TrainSettings

__all__ = ["Bundle"]

FORMAT = "streetgauge-bundle"
FORMAT_VERSION = 1
WEIGHTS, DESCRIPTION, CARD = "weights.safetensors", "bundle.json", "card.md"


@dataclass(frozen=True)
class Bundle:
    """A model and its description.

    Parameters
    ----------
    model : Model
        Networks, standardisation, calibration.
    outcomes : tuple of str, length M
        Names, in the order of the networks.
    name : str
        Which part of a study it was trained for: ``fold-1``.. or ``all``.
    settings : TrainSettings
        How it was trained.
    seed : int
        With which seed.
    stamp : str
        Hash of all that it was made from.
    training : TrainingRecord
        On how much, and the figures on the validation part.
    source : mapping
        Where features and labels come from, as JSON: ``backbone``, ``weights_sha256``,
        ``transform``, ``views`` (names), ``licence``, and ``outcomes`` (per outcome its label,
        direction, publisher, licence ...). Whatever is given is kept.
    code_version : str
        Version of this package that trained it.
    """

    model: Model
    outcomes: tuple[str, ...]
    name: str
    settings: TrainSettings
    seed: int
    stamp: str
    training: TrainingRecord
    source: Mapping[str, Any] = field(default_factory=dict)
    code_version: str = streetgauge.__version__

    @property
    def dimension(self) -> int:
        """D, the features of a view."""
        return len(self.model.standardisation.mean)

    @property
    def backbone(self) -> str:
        """Name of the backbone that its features come from; empty if it is not known."""
        return str(self.source.get("backbone") or "")

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views that it was trained on; empty if they are not known."""
        return tuple(map(str, self.source.get("views") or ()))

    def predict(
        self,
        features: ArrayLike,
        present: ArrayLike | None = None,
        *,
        rows: NDArray[np.int64] | None = None,
        device: Device = "auto",
    ) -> Predictions:
        """Predict locations.

        Parameters
        ----------
        features : array of float32, shape [N, V, D]
            As the bundle's backbone gives them (not standardised); may be a memory map.
        present : array of bool, shape [N, V], optional
            Which views are there; all if not given. The number of views is free.
        rows : array of int64, optional
            Predict only these locations, in this order.
        device : {"auto", "cpu", "cuda", "mps"}
            Where.

        Returns
        -------
        Predictions
            ``score`` [n, M], ``probabilities`` [n, M, K] and ``decile`` [n, M].

        Raises
        ------
        InputError
            If the features have another dimension, or a location has no view at all.
        """
        views = features if isinstance(features, np.ndarray) else np.asarray(features, np.float32)
        if views.ndim != 3 or views.shape[2] != self.dimension:
            raise InputError(
                "features",
                f"their shape is {views.shape}, not [locations, views, {self.dimension}]",
                f"extract them with the bundle's backbone {self.backbone!r}",
            )
        there = np.ones(views.shape[:2], np.bool_) if present is None else np.asarray(present)
        if there.shape != views.shape[:2]:
            raise InputError("present", f"its shape is {there.shape}, not {views.shape[:2]}")
        wanted = there if rows is None else there[rows]
        if not wanted.any(axis=1).all():
            raise InputError("present", "a location has no view at all", "leave it out")
        return self.model.predict(views, there.astype(np.bool_), rows, device)

    def predict_frame(
        self,
        features: ArrayLike,
        present: ArrayLike | None,
        location_ids: ArrayLike,
        *,
        device: Device = "auto",
    ) -> pd.DataFrame:
        """Predict locations as a table, sorted by outcome and location.

        Parameters are those of `predict`, and `location_ids`, an array of str of shape [N].

        Returns
        -------
        DataFrame
            ``location_id, outcome, score (float64), decile (int64), p1.. (float32)``.
        """
        frame = self.predict(features, present, device=device).to_frame(location_ids, self.outcomes)
        return frame.sort_values(["outcome", "location_id"], ignore_index=True)

    def save(self, directory: Path) -> None:
        """Write the bundle; a bundle that is there is replaced at once, never half."""
        with atomic_directory(directory) as temporary:
            save_file(_tensors(self.model), temporary / WEIGHTS)
            write_json(self._description(sha256_of(temporary / WEIGHTS)), temporary / DESCRIPTION)
            write_text(write_card(self), temporary / CARD)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read a bundle.

        Raises
        ------
        InputError
            If it is no bundle, a newer version wrote it, a file is missing or was changed, or the
            weights do not fit the description.
        """
        said = _read_description(directory / DESCRIPTION)
        weights = directory / WEIGHTS
        try:
            model = _read_model(weights, said)
            return cls(
                model=model,
                outcomes=tuple(said["outcomes"]),
                name=said["name"],
                settings=TrainSettings.model_validate(said["settings"]),
                seed=said["seed"],
                stamp=said["stamp"],
                training=TrainingRecord(**said["training"]),
                source=said["source"],
                code_version=said["code_version"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                directory / DESCRIPTION,
                f"this does not describe a bundle ({type(error).__name__}: {_first_line(error)})",
                "write the bundle again",
            ) from None

    def _description(self, sha256: str) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "outcomes": list(self.outcomes),
            "classes": self.model.classes,
            "dimension": self.dimension,
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.seed,
            "stamp": self.stamp,
            "training": asdict(self.training),
            "source": dict(self.source),
            "calibration": {
                outcome: {"a": a, "b": b}
                for outcome, (a, b) in zip(
                    self.outcomes, self.model.calibration.tolist(), strict=True
                )
            },
            "weights": {"file": WEIGHTS, "sha256": sha256},
            "code_version": self.code_version,
        }


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _tensors(model: Model) -> dict[str, torch.Tensor]:
    network = model.network.cpu().state_dict()
    return {
        **{f"network.{name}": tensor.contiguous() for name, tensor in network.items()},
        "standardisation.mean": torch.from_numpy(model.standardisation.mean),
        "standardisation.sd": torch.from_numpy(model.standardisation.sd),
        "calibration": torch.from_numpy(model.calibration),
    }


def _read_description(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            file.parent, f"there is no bundle here: {file.name} is missing", "name its directory"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(file, f"this is not JSON: {error}", "write the bundle again") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise InputError(file, f"this is not a {FORMAT}", "name the directory of a bundle")
    version = said.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(
            file,
            f"its format version is {version!r}, and this version reads up to {FORMAT_VERSION}",
            "upgrade streetgauge",
        )
    return said


def _read_model(file: Path, said: Mapping[str, Any]) -> Model:
    if not file.is_file():
        raise InputError(file, "the bundle's weights are missing", "copy the whole directory")
    if sha256_of(file) != said["weights"]["sha256"]:
        raise InputError(
            file,
            "this is not the file that bundle.json describes",
            "copy the whole directory again",
        )
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise InputError(file, f"this is no safetensors file: {error}") from None
    networks, dimension = len(said["outcomes"]), said["dimension"]
    network = Network(dimension, range(networks), said["settings"]["network"])
    shapes = {f"network.{name}": tuple(x.shape) for name, x in network.state_dict().items()}
    shapes |= {f"standardisation.{name}": (dimension,) for name in ("mean", "sd")}
    shapes["calibration"] = (networks, 2)
    for name in sorted(shapes.keys() | tensors.keys()):
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shapes.get(name):
            raise InputError(
                file,
                f"tensor {name!r} has shape {found}, and bundle.json needs {shapes.get(name)}",
                "write the bundle again",
            )
    network.load_state_dict({n: tensors[f"network.{n}"] for n in network.state_dict()})
    scale = Standardisation(
        tensors["standardisation.mean"].numpy(), tensors["standardisation.sd"].numpy()
    )
    return Model(network.eval(), scale, tensors["calibration"].numpy(), said["classes"])
