"""Where pictures are taken, and which small area that is.

`read_areas` reads the study's areas, `read_locations` its locations: from a postcode directory,
which names every postcode's area, or from coordinates, which the boundaries put into areas.
"""

from __future__ import annotations

from streetgauge.locations.areas import read_areas
from streetgauge.locations.read import read_locations

__all__ = ["read_areas", "read_locations"]
