"""Images, or tables of numbers, as one vector a view; and the file that holds them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
