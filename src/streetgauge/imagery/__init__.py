"""Images as they come: folders, archives, manifests, photographs and panoramas.

`find_views` finds which image is which view of which location, `raw_images` reads them and
`decode` gives their pixels, or one short reason why not.
"""

from streetgauge.imagery.appearance import APPEARANCE as APPEARANCE
from streetgauge.imagery.appearance import appearance_of as appearance_of
from streetgauge.imagery.dates import capture_dates as capture_dates
from streetgauge.imagery.decoding import ImageSource as ImageSource
from streetgauge.imagery.decoding import decode as decode
from streetgauge.imagery.decoding import decode_cuts as decode_cuts
from streetgauge.imagery.decoding import image_sources as image_sources
from streetgauge.imagery.decoding import raw_images as raw_images
from streetgauge.imagery.decoding import read_image as read_image
from streetgauge.imagery.image_file import ImageError as ImageError
from streetgauge.imagery.panoramas import Cut, cut_panorama
from streetgauge.imagery.quality import FINDINGS as FINDINGS
from streetgauge.imagery.quality import QUALITY as QUALITY
from streetgauge.imagery.quality import findings as findings
from streetgauge.imagery.quality import quality_of as quality_of
from streetgauge.imagery.views import find_views as find_views

__all__ = ["Cut", "cut_panorama"]
