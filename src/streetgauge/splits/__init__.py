"""Every way to hold out areas: folds, blocks, buffers, districts, classes. No torch in here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
