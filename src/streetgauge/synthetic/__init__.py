"""A synthetic city whose truth is known, and simulated images or features for real areas.

`make_city` writes a whole study in the official files' own formats, with four rendered street
images for each postcode. `simulate_features` and `simulate_images` put made-up features or
images on the locations of a real area table. Names are imported when they are asked for: the
processes that draw images need neither geopandas nor pandas.
"""

import lazy_loader

__getattr__, _, _ = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["Rendering", "SyntheticCity", "make_city", "simulate_images"]


def __dir__() -> list[str]:
    return list(__all__)
