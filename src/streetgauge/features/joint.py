"""Several feature stores as one: locations joined by key, the views of all sources side by side.

Views of sources with fewer features are filled up with zeros that nothing reads, and a source that
a location lacks is a view that is not there: nothing is made up of another source. So everything
that reads views knows already how to do without one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streetgauge.errors import InputError
from streetgauge.features.area_means import mean_features
from streetgauge.features.store import FeatureStore

if TYPE_CHECKING:
    from streetgauge.study.paths import StudyFiles


BLOCK = 2**24  # numbers copied at a time


@dataclass(frozen=True)
class Part:
    """Where a source's views stand among those of all.

    Parameters
    ----------
    name : str
        The source.
    first, count : int
        Position of its first view, and how many it has.
    dimension : int
        Features of a view; the rest of the row is zeros.
    """

    name: str
    first: int
    count: int
    dimension: int

    @property
    def views(self) -> slice:
        """Its views."""
        return slice(self.first, self.first + self.count)

    @classmethod
    def in_order(cls, shapes: Mapping[str, tuple[int, int]]) -> tuple[Self, ...]:
        """Put sources, given as views and features by name, one behind the other by name."""
        found: list[Self] = []
        first = 0
        for name, (count, dimension) in sorted(shapes.items()):
            found.append(cls(name, first, count, dimension))
            first += count
        return tuple(found)

    @classmethod
    def from_json(cls, described: Iterable[Mapping[str, Any]]) -> tuple[Self, ...]:
        """Read what `as_json` gives."""
        return tuple(cls(**each) for each in described)

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return asdict(self)


class JointStore:
    """What a `FeatureStore` is of one source, of several.

    Parameters
    ----------
    stores : mapping of name to FeatureStore
    folder : Path
        Where the joint features lie, in a file without a name that goes with the process.
    views : mapping of name to sequence of str, optional
        Names of each source's views, in the order in which a model knows them; those of its store
        if not given. A source without a store is in no location.
    dimensions : mapping of name to int, optional
        Of sources without a store.

    Attributes
    ----------
    features : memory map, [N, V, D]
    present : array of bool, [N, V]
    location_ids : array of str, [N]
        Sorted: those that any source has.
    parts : tuple of Part
        The sources, sorted by name.

    Raises
    ------
    InputError
        If a store has a view that is not one of `views`.
    """

    def __init__(
        self,
        stores: Mapping[str, FeatureStore],
        folder: Path,
        views: Mapping[str, Sequence[str]] | None = None,
        dimensions: Mapping[str, int] | None = None,
    ) -> None:
        self.stores = dict(sorted(stores.items()))
        names = {name: list(store.views) for name, store in self.stores.items()}
        names |= {name: list(each) for name, each in (views or {}).items()}
        widths = {**(dimensions or {}), **{n: s.features.shape[2] for n, s in self.stores.items()}}
        self.parts = Part.in_order({name: (len(names[name]), widths[name]) for name in names})
        here = [store.location_ids[store.done] for store in self.stores.values()]
        self.location_ids = np.unique(np.concatenate(here))
        self._index = pd.Index(self.location_ids)
        shape = (
            len(self.location_ids),
            sum(part.count for part in self.parts),
            max(part.dimension for part in self.parts),
        )
        kinds = {store.features.dtype for store in self.stores.values()}
        kind = kinds.pop() if len(kinds) == 1 else np.dtype(np.float32)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        written = np.memmap(self._file, kind, "w+", shape=shape)
        self.present = np.zeros(shape[:2], np.bool_)
        for part in self.parts:
            if part.name in self.stores:
                self._copy(part, names[part.name], written)
        written.flush()
        self.features: NDArray[Any] = np.memmap(self._file, kind, "r", shape=shape)

    def _copy(self, part: Part, names: Sequence[str], written: NDArray[Any]) -> None:
        store = self.stores[part.name]
        column = pd.Index(names).get_indexer(pd.Index(store.views))
        if (column < 0).any():
            raise InputError(
                store.path,
                f"source {part.name!r} has views {', '.join(store.views)} here, and the bundle "
                f"was trained on {', '.join(names)}",
                "name the views as the bundle does",
            )
        column += part.first
        rows = store.rows(self.location_ids)
        known = np.flatnonzero(rows >= 0)
        step = max(BLOCK // max(store.features[0].size, 1), 1)
        for start in range(0, len(known), step):
            at = known[start : start + step]
            there = np.asarray(store.present[rows[at]])
            read = np.where(there[..., None], store.features[rows[at]], 0)
            written[at[:, None], column[None], : part.dimension] = read
            self.present[at[:, None], column[None]] = there

    def rows(self, location_ids: Iterable[str]) -> NDArray[np.intp]:
        """Positions of locations by their id; -1 where no source has one: [n]."""
        return self._index.get_indexer(pd.Index(np.array(list(location_ids), dtype=str)))

    def verify(self) -> None:
        """Refuse stores with features that have changed since they were written.

        Raises
        ------
        InputError
        """
        for store in self.stores.values():
            store.verify()

    def has(self, present: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Tell which locations have which source: [N, S]."""
        present = self.present if present is None else present
        return np.stack([present[:, part.views].any(axis=1) for part in self.parts], axis=1)


def open_features(study: StudyFiles) -> FeatureStore | JointStore:
    """Open the features of a study, of one source or of several.

    Raises
    ------
    InputError
        If a store cannot be used.
    """
    if not study.settings.several:
        return FeatureStore.open(study.features)
    stores = {name: FeatureStore.open(each.features) for name, each in study.sources.items()}
    return JointStore(stores, study.directory / "features")


def area_means(
    store: FeatureStore | JointStore,
    locations: pd.DataFrame,
    present: NDArray[np.bool_] | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Average the features of every area as `mean_features`, of several sources side by side.

    An area without a source has the mean of all areas there: it then lies neither near to others
    nor far from them by this source.

    Returns
    -------
    DataFrame
        As of `mean_features`.
    dict
        ``feature_sd`` and, of several sources, ``sources``: how many features each has.
    """
    if isinstance(store, FeatureStore):
        means, scale = mean_features(store, locations, present)
        return means, {"feature_sd": scale.tolist()}
    used = store.present if present is None else present
    rows = store.rows(locations["location_id"].to_numpy(str))
    known, rows = locations[rows >= 0], rows[rows >= 0]
    count = known["area"].astype(str).value_counts().sort_index()
    blocks, scales = [], []
    for part in store.parts:
        of_part = used[:, part.views]
        if part.name not in store.stores:
            continue
        alone = _Alone(store, part)
        here = known[of_part[rows].any(axis=1)]
        means, scale = mean_features(alone, here, of_part)  # type: ignore[arg-type]
        values = np.stack(list(means["features"])) if len(means) else np.zeros((1, part.dimension))
        whole = np.tile(values.mean(axis=0, dtype=np.float64), (len(count), 1))
        whole[count.index.get_indexer(pd.Index(means["area"]))] = values if len(means) else 0
        blocks.append(whole.astype(np.float32))
        scales.append(scale)
    frame = pd.DataFrame(
        {
            "area": pd.Series(count.index, dtype="str"),
            "n_locations": count.to_numpy(np.int64),
            "features": pd.Series(list(np.concatenate(blocks, axis=1)), dtype="object"),
        }
    )
    widths = {part.name: part.dimension for part in store.parts if part.name in store.stores}
    return frame, {"feature_sd": np.concatenate(scales).tolist(), "sources": widths}


class _Alone:
    """One source of a joint store, with as much of a store as means of areas need."""

    def __init__(self, store: JointStore, part: Part) -> None:
        self.features = store.features[:, part.views, : part.dimension]
        self.present = store.present[:, part.views]
        self.rows = store.rows
