"""What several tests need to make worlds with a known answer, and to change a study."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import geopandas as gpd
import pandas as pd

if TYPE_CHECKING:  # tests that need neither do not wait for them
    from streetgauge.model.training_data import TrainingData
    from streetgauge.splits import Split


OUTCOMES = ("income", "health")


class Rows:
    """Arrays with a row for every location; what inherits from it is a frozen dataclass."""

    def take(self, rows: Any) -> Self:
        """Give these rows, in this order."""
        return replace(self, **{name: array[rows] for name, array in vars(self).items()})

    def data(self, outcomes: Sequence[str] = OUTCOMES, **more: Any) -> TrainingData:
        """Give them as training takes them."""
        from streetgauge.model.training_data import TrainingData

        arrays = (self.features, self.present, self.deciles, self.areas, self.ids)
        return TrainingData(*arrays, outcomes, **more)


class SplitRows(Rows):
    """Rows that can be split, with all that they know of where their locations lie."""

    def split(self, seed: int = 0, **settings: Any) -> list[Split]:
        """Split the locations as settings say."""
        from streetgauge.settings import FoldSettings
        from streetgauge.splits import LocationColumns, make_splits

        known = {"coordinates": "places", "units": "msoas", "groups": "districts"}
        return make_splits(
            FoldSettings(**settings),
            self.areas,
            self.deciles,
            seed=seed,
            columns=LocationColumns(
                location_ids=self.ids,
                outcomes=OUTCOMES,
                **{name: vars(self)[array] for name, array in known.items() if array in vars(self)},
            ),
        )


def nearest(
    actual: pd.Series, fold: pd.Series, coordinates: pd.DataFrame, **settings: Any
) -> pd.Series:
    """Give every area the mean decile of the nearest training areas."""
    from streetgauge.evaluation.baselines import Nearest, out_of_fold

    training_areas = settings.pop("training_areas", None)
    return out_of_fold(Nearest(coordinates, **settings), actual, fold, training_areas)


def leave_out_illness(place: Path) -> None:
    """Leave a small world's second outcome out of its study: half of the work."""
    file = place / "study.toml"
    head, _, rest = file.read_text(encoding="utf-8").partition("[outcomes.illness]\n")
    file.write_text(head + rest[rest.index("[") :], encoding="utf-8")


def change(place: Path, old: str, new: str) -> None:
    """Change what a study's settings say."""
    file = place / "study.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def keep_outcomes(city: Path, *names: str) -> None:
    """Leave a sample city these outcomes alone."""
    file = city / "study.toml"
    text = file.read_text(encoding="utf-8")
    others = rf"\[outcomes\.(?!(?:{'|'.join(names)})\]).*?\n\n"
    file.write_text(re.sub(others, "", text, flags=re.S), encoding="utf-8")


def add_columns(place: Path, **columns: Sequence[Any]) -> None:
    """Give the areas of a study more columns, and name them in its settings."""
    areas = gpd.read_file(place / "areas.geojson").assign(**columns)
    areas.to_file(place / "areas.geojson", driver="GeoJSON", engine="pyogrio")
    change(place, 'name = "name"\n', f'name = "name"\ncolumns = {json.dumps(list(columns))}\n')
