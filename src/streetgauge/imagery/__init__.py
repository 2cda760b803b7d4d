"""Folders and manifests of pictures, and the pixels in them: which views a location has."""

from streetgauge.imagery.pictures import PictureError, read_picture
from streetgauge.imagery.views import find_views

__all__ = ["PictureError", "find_views", "read_picture"]
