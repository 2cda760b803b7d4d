"""A bundle: the directory with a trained model and all that is needed to use it elsewhere.

``weights.safetensors`` holds the networks, the standardisation and the calibration, and the fitted
state of other learners; ``bundle.json`` describes them; ``README.md`` describes it to a person, and
to the Hugging Face Hub. Nothing in it is code, and reading runs none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from streetgauge.errors import InputError, closest, summary
from streetgauge.features.joint import Part
from streetgauge.io.files import atomic_directory, sha256_of, write_json, write_text
from streetgauge.io.formats import BUNDLE_VERSION, metrics_fault, read_json, require_version
from streetgauge.markup import facts_html
from streetgauge.model.card import write_card
from streetgauge.model.heads import make_head
from streetgauge.model.learners import STACK_TENSORS, StackModel, network_of
from streetgauge.model.model import Model, Predictions, TrainingRecord
from streetgauge.model.network import Network
from streetgauge.model.reading import Standardisation, located
from streetgauge.settings import Device, TrainSettings
from streetgauge.version import __version__

FORMAT = "streetgauge-bundle"
APPLICABILITY = "area_of_applicability."  # first part of its tensors' names
HELD_OUT = "held_out."
# Times the number of classes: scores far outside the training distribution are well below it.
ABSURD = 1000.0
MOST = 1000  # classes
WEIGHTS, DESCRIPTION, CARD = FILES = ("weights.safetensors", "bundle.json", "README.md")


@dataclass(frozen=True)
class Bundle:
    """A model and its description.

    Parameters
    ----------
    model : Model or StackModel
        What ``settings.learner`` names.
    outcomes : tuple of str, length M
        Names, in the order of the networks.
    name : str
        Which part of a study it was trained for: ``fold-1``.. or ``all``.
    settings : TrainSettings
        How it was trained.
    seed : int
        With which seed.
    cache_key : str
        Hash of all that it was made from.
    training : TrainingRecord or None
        On how much, and the figures on the validation part; None if it was not trained here.
    source : mapping
        Where features and labels come from, as JSON: ``study``; of the backbone ``backbone``,
        ``weights_sha256``, ``transform``, ``licence`` and ``views`` (names); and ``outcomes`` (per
        outcome its label, direction, publisher, licence, vintage ...). Whatever is given is stored.
    metrics : mapping, optional
        How good the study's predictions of held-out areas were, as in ``metrics.json``.
    licence : str, optional
        What allows the use of the bundle itself (SPDX).
    area_of_applicability : mapping of name to array of float32, optional
        The features of the areas that it was trained on, as
        `streetgauge.evaluation.AreaOfApplicability` has it.
    area_hashes : frozenset of str, optional
        Of the areas it was trained on or stopped by, see `area_hashes`; those of the model
        that it started from too.
    cut_points : mapping of outcome to sequence of float, optional
        The K - 1 mean scores, ascending, between the classes of the areas that the study held out.
    held_out : mapping of outcome to array of float64, shape [n, 3], optional
        Mean score, predicted and actual class of these areas, of which no code is given: what
        intervals elsewhere are made from.
    code_version : str
        Version of this package that trained it.

    Examples
    --------
    >>> bundle = Bundle.load("streetgauge-demo/model/all")
    >>> bundle.outcomes, bundle.model.classes
    (('income', 'low_qualification', 'crime'), 10)
    """

    model: Model | StackModel
    outcomes: tuple[str, ...]
    name: str
    settings: TrainSettings
    seed: int
    cache_key: str
    training: TrainingRecord | None
    source: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] | None = None
    licence: str | None = None
    area_of_applicability: Mapping[str, NDArray[np.float32]] | None = None
    area_hashes: frozenset[str] | None = None
    cut_points: Mapping[str, Sequence[float]] | None = None
    held_out: Mapping[str, NDArray[np.float64]] | None = None
    code_version: str = __version__

    @property
    def dimension(self) -> int:
        """D, the features of a view; of several sources, of the one with most.

        Examples
        --------
        >>> Bundle.load("streetgauge-demo/model/all").dimension
        1280
        """
        return max((part.dimension for part in self.parts), default=self.model.dimension)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Where the views of each source stand, of several sources.

        Examples
        --------
        >>> Bundle.load("streetgauge-demo/model/all").parts  # it has one source
        ()
        """
        return Part.from_json(self.source.get("parts") or ())

    @property
    def sources(self) -> dict[str, Mapping[str, Any]]:
        """What is known of each source, of several: as `source` has it of one.

        Examples
        --------
        >>> Bundle.load("streetgauge-demo/model/all").sources  # it has one
        {}
        """
        return dict(self.source.get("sources") or {})

    @property
    def backbone(self) -> str:
        """Name of the backbone that its features come from; empty if it is not known.

        Examples
        --------
        >>> Bundle.load("streetgauge-demo/model/all").backbone
        'efficientnet-lite0'
        """
        return str(self.source.get("backbone") or "")

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views that it was trained on; empty if they are not known.

        Examples
        --------
        >>> Bundle.load("streetgauge-demo/model/all").views
        ('a', 'b', 'c', 'd')
        """
        return tuple(map(str, self.source.get("views") or ()))

    def pick(self, outcomes: Sequence[str]) -> Self:
        """Give the same bundle with these outcomes only, in this order.

        Raises
        ------
        InputError
            If it has no outcome of a name.

        Examples
        --------
        >>> Bundle.load("streetgauge-demo/model/all").pick(["crime"]).outcomes
        ('crime',)
        """
        for outcome in outcomes:
            if outcome not in self.outcomes:
                step = closest(outcome, self.outcomes)
                raise InputError(f"outcome {outcome!r}", "the bundle does not have it", step)
        columns = [self.outcomes.index(outcome) for outcome in outcomes]
        if columns == list(range(len(self.outcomes))):
            return self
        training = self.training and self.training.pick(columns)
        return replace(
            self,
            model=self.model.pick(columns),
            outcomes=tuple(outcomes),
            training=training,
            cut_points=self.cut_points and {name: self.cut_points[name] for name in outcomes},
            held_out=self.held_out and {name: self.held_out[name] for name in outcomes},
        )

    def compare(
        self,
        subject: object,
        *,
        dimension: int,
        backbone: str,
        weights_sha256: str = "",
        transform: str = "",
        views: Sequence[str] = (),
        of: str = "",
    ) -> list[str]:
        """Refuse features that the bundle does not know; report what is different but can be used.

        Parameters
        ----------
        subject : object
            Named in errors: where the features are.
        dimension, backbone, weights_sha256, transform, views
            Of these features; what is empty, there or in the bundle, is not compared.
        of : str
            Which of several sources they are.

        Returns
        -------
        list of str
            Sentences about views that are not those that the bundle was trained on.

        Raises
        ------
        InputError
            If backbone, its weights, a table's columns or the dimension differ, or no view has a
            name in common.

        Examples
        --------
        >>> bundle = Bundle.load("streetgauge-demo/model/all")
        >>> views = ["a", "b", "c"]
        >>> bundle.compare("x.h5", dimension=1280, backbone="efficientnet-lite0", views=views)
        ['views a, b, c, where the bundle was trained on a, b, c, d']
        """
        source = self.sources[of] if of else self.source
        trained = str(source.get("backbone") or "")
        widths = {part.name: part.dimension for part in self.parts}
        if trained and backbone and backbone != trained:
            raise InputError(
                subject,
                f"its features come from {backbone!r}, and the bundle was trained on {trained!r}",
                f"extract them with {trained!r}, or use a bundle made with {backbone!r}",
            )
        if dimension != widths.get(of, self.dimension):
            raise InputError(
                subject,
                f"it has {dimension} features a view, and the bundle was trained on "
                f"{widths.get(of, self.dimension)}",
                f"extract them with {trained!r}" if trained else "",
            )
        known = str(source.get("weights_sha256") or "")
        # Of a table and the like the hash is of this city's own file.
        made = backbone not in ("table", "raster", "simulated")
        if made and known and weights_sha256 and known != weights_sha256:
            raise InputError(
                subject,
                f"{backbone!r} had other weights here (sha256 {weights_sha256[:12]}..) than for "
                f"the bundle ({known[:12]}..)",
                "extract the features again with the bundle's weights",
            )
        notes = []
        rule = str(source.get("transform") or "")
        if backbone in ("table", "raster"):
            _require_same_columns(subject, _same_json(rule), _same_json(transform))
        if made and rule and transform and _same_json(rule) != _same_json(transform):
            notes.append("images were prepared otherwise than for the bundle: see `transform`")
        known_views = tuple(map(str, source.get("views") or ()))
        if views and known_views and tuple(views) != known_views:
            theirs, ours = ", ".join(known_views), ", ".join(views)
            if not set(views) & set(known_views):
                raise InputError(
                    subject,
                    f"its views are {ours}, and the bundle was trained on {theirs}",
                    "name the views as the bundle does",
                )
            notes.append(f"views {ours}, where the bundle was trained on {theirs}")
        return notes

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
            If the features have another dimension, a location has no view at all, or a score is
            no finite number or absurd.

        Examples
        --------
        >>> bundle = Bundle.load("streetgauge-demo/model/all")
        >>> predictions = bundle.predict(np.zeros((2, 4, 1280), np.float32))
        >>> predictions.probabilities.shape
        (2, 3, 10)
        """
        views = features if isinstance(features, np.ndarray) else np.asarray(features, np.float32)
        count = sum(part.count for part in self.parts)
        wrong = views.ndim != 3 or views.shape[2] != self.dimension
        if wrong or (self.parts and views.shape[1] != count):
            raise InputError(
                "features",
                f"their shape is {views.shape}, not [locations, {count or 'views'}, "
                f"{self.dimension}]",
                f"extract them with the bundle's backbone {self.backbone!r}",
            )
        there = np.ones(views.shape[:2], np.bool_) if present is None else np.asarray(present)
        if there.shape != views.shape[:2]:
            raise InputError("present", f"its shape is {there.shape}", f"give {views.shape[:2]}")
        wanted = there if rows is None else there[rows]
        if not wanted.any(axis=1).all():
            raise InputError("present", "a location has no view at all", "exclude it")
        predictions = self.model.predict(views, there.astype(np.bool_), rows, device)
        if not (np.abs(predictions.score) <= ABSURD * self.model.classes).all():
            raise InputError(
                f"bundle {self.name}",
                "its weights give scores that are not finite numbers, or far off its classes",
                "use another bundle, or make it again",
            )
        return predictions

    def predict_frame(
        self,
        features: ArrayLike,
        present: ArrayLike | None,
        location_ids: ArrayLike,
        *,
        rows: NDArray[np.int64] | None = None,
        device: Device = "auto",
    ) -> pd.DataFrame:
        """Predict locations as a table, sorted by outcome and location.

        Parameters are those of `predict`, and `location_ids`, an array of str: of every location
        [N], or of the given rows only, in their order.

        Returns
        -------
        DataFrame
            ``location_id, outcome, score (float64), decile (int64), p1.. (float32), score_sd``.

        Raises
        ------
        InputError
            As `predict`; also if a feature is not a finite number, naming row and location.

        Examples
        --------
        >>> bundle = Bundle.load("streetgauge-demo/model/all")
        >>> features = np.zeros((2, 4, 1280), np.float32)
        >>> bundle.predict_frame(features, None, ["SE1", "SE2"])["outcome"].unique().tolist()
        ['crime', 'income', 'low_qualification']
        """
        ids = np.asarray(location_ids, object)
        by_row = ids
        if rows is not None:
            by_row = np.full(np.max(rows, initial=-1) + 1, None, object)
            by_row[rows] = ids
        with located(by_row):
            predictions = self.predict(features, present, rows=rows, device=device)
        frame = predictions.to_frame(ids, self.outcomes)
        return frame.sort_values(["outcome", "location_id"], ignore_index=True)

    def save(self, directory: str | Path) -> None:
        """Write the bundle; a bundle that is there is replaced at once, never half.

        Examples
        --------
        >>> Bundle.load("streetgauge-demo/model/all").pick(["crime"]).save("crime-only")
        >>> sorted(path.name for path in Path("crime-only").iterdir())
        ['README.md', 'bundle.json', 'weights.safetensors']
        """
        with atomic_directory(Path(directory)) as temporary:
            further: dict[str, NDArray[Any]] = {
                **{f"{APPLICABILITY}{n}": x for n, x in (self.area_of_applicability or {}).items()},
                **{f"{HELD_OUT}{n}": x for n, x in (self.held_out or {}).items()},
            }
            save_file(_tensors(self.model, further), temporary / WEIGHTS)
            (temporary / WEIGHTS).chmod(0o644)  # safetensors lets nobody but the writer read it
            weights = {"file": WEIGHTS, "sha256": sha256_of(temporary / WEIGHTS)}
            description = {**self.description(), "weights": weights}
            write_json(description, temporary / DESCRIPTION)
            network = network_of(self.model)
            width = None if network is None else network.network.width
            write_text(write_card(description, width), temporary / CARD)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read a bundle.

        Raises
        ------
        InputError
            If it is not a bundle, its format is of another version, a file is missing or was
            changed, or the weights do not fit the description.

        Examples
        --------
        >>> Bundle.load("streetgauge-demo/model/fold-1").name
        'fold-1'
        """
        directory = Path(directory)
        description = _read_description(directory / DESCRIPTION)
        weights = directory / WEIGHTS
        try:
            _require_types(description)
            model, area_of_applicability, held_out = _read_model(weights, description)
            return cls(
                model=model,
                outcomes=tuple(description["outcomes"]),
                name=description["name"],
                settings=TrainSettings.model_validate(description["settings"]),
                seed=description["seed"],
                cache_key=description["cache_key"],
                training=_record(description["training"]),
                source=description["source"],
                metrics=description.get("metrics"),
                licence=description.get("licence"),
                area_of_applicability=area_of_applicability or None,
                area_hashes=None
                if description["area_hashes"] is None
                else frozenset(description["area_hashes"]),
                cut_points=_cut_points(description),
                held_out=held_out or None,
                code_version=description["code_version"],
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                directory / DESCRIPTION,
                f"this does not describe a bundle ({_in_words(error)})",
                "write the bundle again",
            ) from None

    def _repr_html_(self) -> str:
        """Show in a notebook what this is."""
        about = self.source.get("outcomes", {})
        named = [str(about.get(n, {}).get("label") or n) for n in self.outcomes]
        record = self.training
        facts = {
            "study": self.source.get("study"),
            "trained on": record
            and f"{record.training_locations:,} locations in {record.training_areas:,} areas",
            "outcomes": ", ".join(named),
            "classes": self.model.classes,
            "backbone": self.backbone,
            "features": f"{self.dimension:,} a view",
            "views": ", ".join(self.views),
            "sources": ", ".join(self.sources),
            "licence": self.licence,
            "made with": f"streetgauge {self.code_version}, seed {self.seed}",
        }
        return facts_html(f"Bundle {self.name}", facts)

    def description(self) -> dict[str, Any]:
        """Give the content of ``bundle.json``, but for ``weights``, which names their file.

        Examples
        --------
        >>> Bundle.load("streetgauge-demo/model/all").description()["classes"]
        10
        """
        unused = set() if self.parts else {"source_dropout"}
        return {
            "format": FORMAT,
            "format_version": BUNDLE_VERSION,
            "name": self.name,
            "outcomes": list(self.outcomes),
            "classes": self.model.classes,
            "dimension": self.dimension,
            "settings": self.settings.model_dump(mode="json", exclude=unused),
            "seed": self.seed,
            "cache_key": self.cache_key,
            "training": None if self.training is None else self.training.to_json(),
            "source": dict(self.source),
            "metrics": None if self.metrics is None else dict(self.metrics),
            "licence": self.licence,
            "calibration": self._calibration(),
            "weights": None,
            "area_hashes": None if self.area_hashes is None else sorted(self.area_hashes),
            **({} if self.cut_points is None else {"cut_points": dict(self.cut_points)}),
            "code_version": self.code_version,
        }

    def _calibration(self) -> dict[str, dict[str, float]]:
        """Give each outcome's line from the network's output to its score, if there is one."""
        network = network_of(self.model)
        lines = [] if network is None else network.calibration.tolist()
        return {name: {"a": a, "b": b} for name, (a, b) in zip(self.outcomes, lines, strict=False)}


def area_hashes(areas: Iterable[object]) -> frozenset[str]:
    """Mark areas by their codes: the first 12 digits of each code's sha256.

    Marks of 48 bits: that areas of two countries share one by chance is not to be expected.
    """
    return frozenset(hashlib.sha256(str(c).encode()).hexdigest()[:12] for c in set(areas))


def _record(description: Mapping[str, Any] | None) -> TrainingRecord | None:
    return None if description is None else TrainingRecord(**description)


def _require_types(description: Mapping[str, Any]) -> None:
    """Raise what `load` words, if a part that is read much later has the wrong type."""
    source, metrics = description["source"], description.get("metrics")
    about, views = source.get("outcomes") or {}, source.get("views") or []
    kinds = (
        ("source", source, dict),
        ("source.outcomes", about, dict),
        *((f"source.outcomes.{name}", each, dict) for name, each in about.items()),
        ("source.start", source.get("start") or {}, dict),
        ("source.views", views, list),
        ("source.sources", source.get("sources") or {}, dict),
        *((f"source.sources.{n}", s, dict) for n, s in (source.get("sources") or {}).items()),
        ("metrics", metrics or {}, dict),
        ("calibration", description["calibration"], dict),
    )
    if not isinstance(description["classes"], int) or not 2 <= description["classes"] <= MOST:
        raise ValueError(f"classes: {description['classes']!r} is not a number of classes")
    for key, value, kind in kinds:
        if not isinstance(value, kind):
            raise TypeError(f"{key} is not a {kind.__name__}")
    if fault := metrics_fault(metrics or {}):
        raise TypeError(f"metrics.{fault} has the wrong type")


def _parts(description: Mapping[str, Any]) -> tuple[Part, ...]:
    """Read the sources, if there are several: one behind the other, as they are made."""
    parts = Part.from_json(description["source"].get("parts") or ())
    if parts != Part.in_order({part.name: (part.count, part.dimension) for part in parts}):
        raise ValueError("source.parts are not in consecutive order")
    if parts and max(part.dimension for part in parts) != description["dimension"]:
        raise ValueError("dimension is not that of source.parts")
    return parts


def _cut_points(description: Mapping[str, Any]) -> dict[str, list[float]] | None:
    """Read the cut points, if the bundle has them: ascending, for each outcome."""
    given = description.get("cut_points")
    if given is None:
        return None
    cuts = {name: [float(cut) for cut in given[name]] for name in description["outcomes"]}
    for name, each in cuts.items():
        finite = bool(np.isfinite(each).all())
        if len(each) != description["classes"] - 1 or not finite or each != sorted(each):
            raise ValueError(f"cut_points of {name!r} are not ascending between its classes")
    return cuts


def _require_same_columns(subject: object, trained: object, given: object) -> None:
    """Refuse a table whose columns are others than the bundle's, or were prepared otherwise."""
    if not isinstance(trained, dict) or not isinstance(given, dict):
        return
    pairs = zip(trained.get("columns", ()), given.get("columns", ()), strict=False)
    for position, (ours, theirs) in enumerate(pairs, 1):
        if ours != theirs:
            raise InputError(
                subject,
                f"its feature {position} is {theirs!r}, where the bundle was trained on {ours!r}",
                "name the bundle's columns in its order: `streetgauge info` lists them",
            )
    ours, theirs = trained.get("transform"), given.get("transform")
    if "transform" in trained and ours != theirs:
        raise InputError(
            subject,
            f"features.transform is {theirs!r}, where the bundle was trained with {ours!r}",
            "prepare the table in the same way",
        )


def _same_json(text: str) -> object:
    """Normalise a rule, whatever the order and the spaces in which it was written."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return text


def _in_words(error: Exception) -> str:
    """Describe in a few words what is wrong, of settings which one."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"settings.{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__}: {summary(error)}"


def _tensors(
    model: Model | StackModel, further: Mapping[str, NDArray[Any]]
) -> dict[str, torch.Tensor]:
    arrays = dict(further)
    if isinstance(model, StackModel):
        arrays |= model.tensors()
    network = network_of(model)
    if network is None:
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
    arrays |= {
        "standardisation.mean": network.standardisation.mean,
        "standardisation.sd": network.standardisation.sd,
        "calibration": network.calibration,
        **({} if network.temperature is None else {"temperature": network.temperature}),
    }
    state = network.network.cpu().state_dict()
    return {
        **{f"network.{name}": tensor.contiguous() for name, tensor in state.items()},
        **{name: torch.from_numpy(array) for name, array in arrays.items()},
    }


def _read_description(file: Path) -> dict[str, Any]:
    try:
        description = read_json(file, "write the bundle again")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            file.parent, f"there is no bundle here: {file.name} is missing", "name its directory"
        ) from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise InputError(file, f"this is not a {FORMAT}", "name the directory of a bundle")
    require_version(file, description.get("format_version"), BUNDLE_VERSION)
    return description


def _read_model(
    file: Path, description: Mapping[str, Any]
) -> tuple[Model | StackModel, dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    if not file.is_file():
        raise InputError(file, "the bundle's weights are missing", "copy the whole directory")
    if sha256_of(file) != description["weights"]["sha256"]:
        raise InputError(
            file,
            "this is not the file that bundle.json describes",
            "copy the whole directory again",
        )
    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise InputError(
            file, f"this is not a safetensors file: {summary(error)}", "copy the bundle again"
        ) from None
    _refuse_absurd(file, tensors)
    parts = _parts(description)
    wide = sum(part.dimension for part in parts) or description["dimension"]
    applicability = _applicability(file, tensors, wide)
    held_out = _held_out(file, tensors, description)
    settings = TrainSettings.model_validate(description["settings"])
    if not any(name.startswith(STACK_TENSORS) for name in tensors):
        return _read_network(file, description, settings, tensors), applicability, held_out
    own = {n: tensors.pop(n).numpy() for n in list(tensors) if n.startswith(STACK_TENSORS)}
    network = _read_network(file, description, settings, tensors) if tensors else None
    model = StackModel.from_tensors(own, network, description["classes"], parts)
    fits = parts or model.dimension == description["dimension"]
    if not fits or model.stack.slope.shape[1] != len(description["outcomes"]):
        raise InputError(file, "its tensors do not match bundle.json", "write the bundle again")
    return model, applicability, held_out


def _refuse_absurd(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights that no training gives: not finite, or scales that are not positive."""
    own = {n: x for n, x in tensors.items() if not n.startswith(HELD_OUT)}  # checked by itself
    for name, tensor in sorted(own.items()):
        positive = name in ("standardisation.sd", "calibration")
        scale = tensor[..., 1] if name == "calibration" and tensor.ndim == 2 else tensor
        if not tensor.isfinite().all():
            reason = f"its tensor {name!r} has a number that is not finite"
        elif positive and not (scale > 0).all():
            reason = f"its tensor {name!r} has a scale that is not positive"
        else:
            continue
        raise InputError(file, reason, "copy the bundle again, or make it again")


def _read_network(
    file: Path,
    description: Mapping[str, Any],
    settings: TrainSettings,
    tensors: Mapping[str, torch.Tensor],
) -> Model:
    """Make the network of tensors that are all its own."""
    networks, dimension = len(description["outcomes"]), description["dimension"]
    parts = _parts(description)
    # Takes no memory, whatever the description claims, and draws no first weights.
    with torch.device("meta"):
        network = Network(dimension, range(networks), settings, description["classes"], parts)
    shapes = {f"network.{name}": tuple(x.shape) for name, x in network.state_dict().items()}
    features = (sum(part.count for part in parts), dimension) if parts else (dimension,)
    shapes |= {f"standardisation.{name}": features for name in ("mean", "sd")}
    shapes["calibration"] = (networks, 2)
    if "temperature" in tensors:
        shapes["temperature"] = (networks, 2)
    for name in sorted(shapes.keys() | tensors.keys()):
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shapes.get(name):
            raise InputError(
                file,
                f"tensor {name!r} has shape {found}, and bundle.json needs {shapes.get(name)}",
                "write the bundle again",
            )
    network.head = make_head(settings.head, description["classes"], networks)
    own = {n: tensors[f"network.{n}"].float() for n in network.state_dict()}
    network.load_state_dict(own, assign=True)
    scale = Standardisation(
        tensors["standardisation.mean"].numpy(), tensors["standardisation.sd"].numpy()
    )
    temperature = tensors["temperature"].numpy() if "temperature" in tensors else None
    calibration = tensors["calibration"].numpy()
    return Model(network.eval(), scale, calibration, description["classes"], temperature)


def _applicability(
    file: Path, tensors: dict[str, torch.Tensor], dimension: int
) -> dict[str, NDArray[np.float32]]:
    """Take out the area of applicability, if it is there and of one piece."""
    own = {n: tensors.pop(n).numpy() for n in list(tensors) if n.startswith(APPLICABILITY)}
    found = {name.removeprefix(APPLICABILITY): array for name, array in own.items()}
    if not found:
        return {}
    shape = {name: found[name].shape for name in found}
    count = shape.get("components", (0, 0))[-1]
    areas = shape.get("points", (0,))[0]
    needed = {
        "mean": (dimension,),
        "sd": (dimension,),
        "components": (dimension, count),
        "spread": (count + 2,),
        "points": (areas, count + 1),
        "distances": (areas,),
    }
    if shape != needed or not areas:
        raise InputError(
            file, f"its tensors {APPLICABILITY}* do not fit each other", "write the bundle again"
        )
    return found


def _held_out(
    file: Path, tensors: dict[str, torch.Tensor], description: Mapping[str, Any]
) -> dict[str, NDArray[np.float64]]:
    """Take out the areas that were held out, if they are there, of all outcomes and usable."""
    own = {n: tensors.pop(n).numpy() for n in list(tensors) if n.startswith(HELD_OUT)}
    found = {name.removeprefix(HELD_OUT): array for name, array in own.items()}
    if not found:
        return {}
    usable = found.keys() == set(description["outcomes"]) and all(
        each.ndim == 2
        and each.shape[1] == 3
        and len(each)
        and np.isfinite(each).all()
        and np.isin(each[:, 1:], np.arange(1, description["classes"] + 1)).all()
        for each in found.values()
    )
    if not usable:
        raise InputError(
            file, f"its tensors {HELD_OUT}* are not of areas and classes", "write the bundle again"
        )
    return found
