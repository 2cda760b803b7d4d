"""Every way to hold out areas: folds, blocks, buffers, districts, classes. No torch in here."""

import lazy_loader

__getattr__, _, _ = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["AreaSplit"]


def __dir__() -> list[str]:
    return list(__all__)
