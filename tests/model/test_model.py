from __future__ import annotations

from typing import Any

import numpy as np

from streetgauge.model.fitting import _parts
from streetgauge.splits.schemes import Split


def test_a_member_is_stopped_by_areas_that_it_has_not_learnt_from(make_world: Any) -> None:
    world = make_world()
    rows = np.arange(len(world.ids))
    split = Split("fold-1", 1, rows[rows % 7 > 1], rows[rows % 7 == 1], rows[rows % 7 == 0])
    pool = np.sort(np.concatenate([split.training, split.validation]))
    parts = _parts(split, pool, world.areas, world.deciles.astype(np.float32), 5, 1)
    assert len(parts) == 5
    for training, stopping in parts:
        assert not set(world.areas[training]) & set(world.areas[stopping])
        assert sorted([*training, *stopping]) == pool.tolist()
    assert sorted(np.concatenate([stopping for _, stopping in parts])) == pool.tolist()
