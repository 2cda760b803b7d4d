"""A synthetic city whose truth is known, and simulated pictures or features for real areas.

`make_city` writes a whole study in the official files' own formats, with four rendered street
pictures for each postcode. `simulate_features` and `dress_pictures` put made-up features or
pictures on the locations of a real area table. Names are imported when they are asked for: the
processes that draw pictures need neither geopandas nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streetgauge.synthetic.city import City, make_city
    from streetgauge.synthetic.dress import dress_pictures
    from streetgauge.synthetic.model import LATENTS, OUTCOMES, VISIBLE, Model
    from streetgauge.synthetic.simulate import simulate_features, simulated_oracle

_MODULES = {
    "City": "city",
    "make_city": "city",
    "dress_pictures": "dress",
    "LATENTS": "model",
    "OUTCOMES": "model",
    "VISIBLE": "model",
    "Model": "model",
    "simulate_features": "simulate",
    "simulated_oracle": "simulate",
}

__all__ = [
    "City",
    "make_city",
    "dress_pictures",
    "simulate_features",
    "simulated_oracle",
    "Model",
    "LATENTS",
    "VISIBLE",
    "OUTCOMES",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
