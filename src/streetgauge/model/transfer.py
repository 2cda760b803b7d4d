"""A model of one city used in another: its bundle opened, compared with features, tuned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streetgauge.errors import InputError
from streetgauge.features.joint import JointStore
from streetgauge.features.store import FeatureStore
from streetgauge.settings import TrainSettings, TransferSettings

if TYPE_CHECKING:
    from streetgauge.model.bundle import Bundle
    from streetgauge.model.learners import StackModel
    from streetgauge.model.model import Model


def open_bundle(name: str | Path) -> tuple[Bundle, list[str]]:
    """Open a bundle by its directory, by the study that made it, or by its address.

    Parameters
    ----------
    name : str or Path
        A bundle's directory; a study's, whose bundle ``model/all`` is then taken; or
        ``hf://user/name@revision``.

    Returns
    -------
    Bundle
    list of str
        What was taken, if that is not plain from the name.

    Raises
    ------
    InputError
        If there is no bundle there, or it cannot be used.
    """
    from streetgauge.model.bundle import Bundle

    if str(name).startswith("hf://"):
        from streetgauge.model.hub import from_hub

        folder = from_hub(str(name))
        return Bundle.load(folder), [f"{name}: commit {folder.name}"]
    directory = Path(name)
    if (directory / "bundle.json").exists():
        return Bundle.load(directory), []
    for inner in (directory / "model", directory):
        if (inner / "all" / "bundle.json").exists():
            return Bundle.load(inner / "all"), [f"{inner / 'all'}: the model of all areas"]
        if parts := sorted(file.parent for file in inner.glob("*/bundle.json")):
            raise InputError(
                directory,
                "it has no model that was trained on all areas",
                f"name the one you want: {', '.join(map(str, parts[:6]))}",
            )
    return Bundle.load(directory), []  # which reports what is missing


def compare_with(bundle: Bundle, store: FeatureStore, of: str = "") -> list[str]:
    """Refuse a store that a bundle does not fit; report what is different but can be used.

    ``of`` is which of several sources it is. Engines in float32 agree to six digits. Other
    precisions are rounded, so they are reported.
    """
    notes = bundle.compare(
        store.path,
        dimension=store.features.shape[2],
        backbone=store.backbone,
        weights_sha256=store.attributes.get("weights_sha256", ""),
        transform=store.attributes.get("transform", ""),
        views=store.views,
        of=of,
    )
    source = bundle.sources[of] if of else bundle.source
    here = store.attributes.get("precision") or "float32"
    there = str(source.get("precision") or "float32")
    if here != there:
        cosines = (about.get("cosine") or 1 for about in (store.attributes, source))
        notes.append(
            f"features in {here} here, in {there} where the bundle was trained: "
            f"cosine to float32 {min(map(float, cosines)):.4f}"
        )
    return notes


def join_city(
    name: str | Path, bundle: Bundle, files: Mapping[str, Path], folder: Path
) -> tuple[JointStore, list[str]]:
    """Put the stores of another city side by side as a bundle of several sources knows them.

    Parameters
    ----------
    name : str or Path
        What the bundle is called in errors.
    bundle : Bundle
    files : mapping of source to Path
        The stores.
    folder : Path
        Where the joint features lie while the process lasts.

    Returns
    -------
    JointStore
    list of str
        Sentences on what is different but can be used, and on the sources that are absent.

    Raises
    ------
    InputError
        If a store does not fit, a source is none of the bundle's, or one is absent though the
        bundle was not trained with source dropout.
    """
    sources = bundle.sources
    for each in files:
        if each not in sources:
            step = f"it has {', '.join(sources)}"
            raise InputError(f"--features {each}=", "the bundle has no such source", step)
    absent = [each for each in sources if each not in files]
    step = " ".join(f"--features {each}=FILE" for each in sources)
    if not files:
        reason = f"it was trained on several sources ({', '.join(sources)})"
        raise InputError(name, reason, f"give a store of each: {step}")
    if absent and not bundle.settings.source_dropout:
        raise InputError(
            name,
            f"it needs {' and '.join(absent)}: it was trained without source dropout",
            f"give {step}, or train it with source_dropout under [train]",
        )
    notes = [f"predicted without {each}, which the bundle was trained on too" for each in absent]
    stores = {each: FeatureStore.open(path) for each, path in files.items()}
    for each, store in stores.items():
        notes += [f"{each}: {note}" for note in compare_with(bundle, store, each)]
        store.verify()
    views = {each: list(map(str, about.get("views") or ())) for each, about in sources.items()}
    widths = {part.name: part.dimension for part in bundle.parts}
    return JointStore(stores, folder, views, widths), notes


def count_known_areas(hashes: frozenset[str] | None, areas: Iterable[object]) -> int | None:
    """Count the areas that a bundle was trained on, by their codes; None if it has not stored them.

    Parameters are those of `known_areas`.
    """
    from streetgauge.model.bundle import area_hashes

    return None if hashes is None else len(area_hashes(areas) & hashes)


def known_areas(hashes: frozenset[str] | None, areas: Iterable[object]) -> list[str]:
    """Report how many of these areas a bundle was trained on, by their codes; nothing if none.

    Parameters
    ----------
    hashes : frozenset of str or None
        Of the bundle, see `Bundle`; None if it is not stored.
    areas : iterable of str
        Codes, in any order and as often as they come.
    """
    from streetgauge.model.bundle import area_hashes

    own = area_hashes(areas)
    both = count_known_areas(hashes, areas)
    if not both:
        return []
    return [
        f"{both:,} of {len(own):,} areas have the codes of areas that the bundle was trained on: "
        "if they are these, figures of them flatter it"
    ]


# What of the settings belongs to the network that is started from, and cannot be another.
_ARCHITECTURE = ("network", "pooling", "ensemble_size", "head", "dropout")


@dataclass(frozen=True)
class Start:
    """What a study's networks start from.

    Parameters
    ----------
    model : Model or StackModel
        Of the study's outcomes, in their order.
    settings : TrainSettings
        The study's, for a network like the model's.
    about : dict
        What is stored of it in the bundles that are made.
    notes : tuple of str
        For the screen.
    area_hashes : frozenset of str, optional
        Of the areas that the model was trained on, see `Bundle`; None if it is not stored.
    """

    model: Model | StackModel
    settings: TrainSettings
    about: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    area_hashes: frozenset[str] | None = None


def find_start(
    transfer: TransferSettings,
    train: TrainSettings,
    store: FeatureStore,
    outcomes: Sequence[str],
    *,
    classes: int = 10,
) -> Start:
    """Open the bundle that a study starts from, and see that it fits.

    Parameters
    ----------
    transfer, train : settings
        The study's.
    store : FeatureStore
        The study's features.
    outcomes : sequence of str
        The study's, in the order of the labels; the bundle must have each by name.
    classes : int
        K of the study.

    Returns
    -------
    Start

    Raises
    ------
    InputError
        If the bundle cannot be opened, was made with another backbone, or lacks an outcome.
    """
    from streetgauge.model.learners import network_of

    bundle, notes = open_start(transfer, outcomes, classes=classes)
    notes += compare_with(bundle, store)
    theirs = {key: getattr(bundle.settings, key) for key in _ARCHITECTURE}
    replaced = [f"{key} {value}" for key, value in theirs.items() if value != getattr(train, key)]
    if replaced:
        notes.append(f"{', '.join(replaced)}, as the bundle's")
    model = bundle.pick(outcomes).model
    network = network_of(model)
    tuned = transfer.tune != "correction" and (transfer.share > 0 or transfer.curve)
    if tuned and network is None:
        raise InputError(
            f"transfer.from = {transfer.bundle}",
            f"its learner is a {bundle.settings.learner}, which has nothing to tune",
            'set transfer.tune to "correction", or name a bundle with a network',
        )
    if tuned and network is not None and network is not model:
        notes.append("the network of the bundle's stack is tuned, and the others are not used")
        model = network
    learner = "network" if model is network else bundle.settings.learner
    # Its layers read all features now, and are as wide as they were.
    theirs |= {"width": network and network.network.width, "components": None, "learner": learner}
    settings = train.model_copy(update=theirs | {"tune": transfer.tune})
    about = {
        "study": bundle.source.get("study") or "",
        "bundle": bundle.name,
        "cache_key": bundle.cache_key,
        "from": str(transfer.bundle) if isinstance(transfer.bundle, str) else transfer.bundle.name,
        "share": transfer.share,
    }
    return Start(model, settings, about, tuple(notes), bundle.area_hashes)


def open_start(
    transfer: TransferSettings, outcomes: Sequence[str], *, classes: int = 10
) -> tuple[Bundle, list[str]]:
    """Open the bundle that a study starts from, and see that it fits all but the features.

    Parameters are those of `find_start`.

    Returns
    -------
    Bundle, list of str
        As `open_bundle` gives them.

    Raises
    ------
    InputError
        If it cannot be opened, has other classes, or lacks an outcome.
    """
    if isinstance(transfer.bundle, Path) and not (transfer.bundle / "bundle.json").is_file():
        raise InputError(
            f"transfer.from = {transfer.bundle}",
            "this is not a bundle",
            "name a bundle itself: what `streetgauge export` wrote, or model/all of a study",
        )
    bundle, notes = open_bundle(transfer.bundle)
    subject = f"transfer.from = {transfer.bundle}"
    if bundle.model.classes != classes:
        raise InputError(
            subject,
            f"it has {bundle.model.classes} classes, and the study has {classes}",
            f"set deciles.classes to {bundle.model.classes}",
        )
    if bundle.parts:
        raise InputError(
            subject,
            f"it was trained on several sources ({', '.join(bundle.sources)}), and what starts "
            "from it has one",
            "name a bundle of one source",
        )
    for outcome in outcomes:
        if outcome not in bundle.outcomes:
            raise InputError(
                f"outcome {outcome!r}",
                f"the bundle that the study starts from ({transfer.bundle}) does not have it",
                f"it has {', '.join(bundle.outcomes)}; outcomes are matched by name",
            )
    return bundle, notes
