"""Images, or tables of numbers, as one vector a view; and the file that holds them."""

import lazy_loader

__getattr__, _, _ = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["BACKBONES", "Backbone", "FeatureStore", "get_backbone"]


def __dir__() -> list[str]:
    return list(__all__)
