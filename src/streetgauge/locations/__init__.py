"""Where images are taken, and which small area that is.

`read_areas` reads the study's areas, `read_locations` its locations: from a postcode directory,
which names every postcode's area, from coordinates, which the boundaries put into areas, or from a
table that has both. `counted` counts in lines what is special in it.
"""

from __future__ import annotations

from streetgauge.locations.areas import read_areas
from streetgauge.locations.read import counted, read_locations

__all__ = ["counted", "read_areas", "read_locations"]
