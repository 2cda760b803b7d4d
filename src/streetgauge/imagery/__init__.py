"""Pictures as they come: folders, archives, manifests, photographs and panoramas.

`find_views` says which image is which view of which location, `raw_pictures` reads them and
`decode` gives their pixels, or one short reason why not.
"""

from streetgauge.imagery.decoding import (
    PictureAt,
    PictureError,
    decode,
    decode_cuts,
    pictures_at,
    raw_pictures,
    read_picture,
)
from streetgauge.imagery.panoramas import Cut, cut_panorama
from streetgauge.imagery.quality import FINDINGS, QUALITY, findings, quality_of
from streetgauge.imagery.views import find_views

__all__ = [
    "FINDINGS",
    "QUALITY",
    "Cut",
    "PictureAt",
    "PictureError",
    "cut_panorama",
    "decode",
    "decode_cuts",
    "find_views",
    "findings",
    "pictures_at",
    "quality_of",
    "raw_pictures",
    "read_picture",
]
