"""Shards that another machine has made, taken into the store of this one."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

from streetgauge.devices import working_threads
from streetgauge.features._lock import WriteLock
from streetgauge.features.extraction import Extraction
from streetgauge.features.resumption import open_or_create
from streetgauge.features.shards import Shards, made_by, shards_of
from streetgauge.features.store import FeatureStore
from streetgauge.features.weights import identified
from streetgauge.progress import Progress, silent

__all__ = ["take_in_shards"]


def take_in_shards(wanted: Extraction, *, progress: Progress = silent) -> bool:
    """Merge shards that lie beside a store, from wherever they come; they stay where they are.

    No network is loaded: what computed the shards need not be on this machine.

    Parameters
    ----------
    wanted : Extraction
        As for `extract_pictures`, which goes on with the store.
    progress : Progress
        Told of every location.

    Returns
    -------
    bool
        Whether there were any.

    Raises
    ------
    InputError
        If a shard does not belong to the study, or the file at its path is something else than a
        store.
    """
    folder = shards_of(wanted.path)
    theirs = made_by(folder, engine=wanted.engine, device=wanted.device)
    if not theirs:
        return False
    record = identified(wanted.record)
    work_list = wanted.work_list()
    with (
        WriteLock(wanted.path) as lock,
        working_threads() as pool,
        open_or_create(wanted, record, work_list, _AsTheySay(theirs), lock, pool) as store,
    ):
        planned = work_list.mask()
        Shards(folder, store).merge(planned, planned & ~store.held, wanted.require, progress)
    return True


class _AsTheySay:
    """A network that is elsewhere, as the shards describe it."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self._said = SimpleNamespace(
            engine=attributes["engine"],
            device=attributes["device"],
            cosine=float(attributes["cosine"] or "nan"),
        )

    def load(self, store: FeatureStore | None = None) -> SimpleNamespace:
        """Say what computed them."""
        return self._said
