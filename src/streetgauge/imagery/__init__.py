"""Images as they come: folders, archives, manifests, photographs and panoramas.

`find_views` finds which image is which view of which location, `raw_images` reads them and
`decode` gives their pixels, or one short reason why not.
"""

from streetgauge.imagery.appearance import APPEARANCE, appearance_of
from streetgauge.imagery.dates import capture_dates
from streetgauge.imagery.decoding import (
    ImageError,
    ImageSource,
    decode,
    decode_cuts,
    image_sources,
    raw_images,
    read_image,
)
from streetgauge.imagery.panoramas import Cut, cut_panorama
from streetgauge.imagery.quality import FINDINGS, QUALITY, findings, quality_of
from streetgauge.imagery.views import find_views

__all__ = [
    "APPEARANCE",
    "FINDINGS",
    "QUALITY",
    "Cut",
    "ImageSource",
    "ImageError",
    "appearance_of",
    "capture_dates",
    "cut_panorama",
    "decode",
    "decode_cuts",
    "find_views",
    "findings",
    "image_sources",
    "quality_of",
    "raw_images",
    "read_image",
]
