"""The model: the binomial head, the network, the training loop, cross-validation, bundles.

Names are imported when they are asked for: torch takes a second.
"""

import lazy_loader

__getattr__, _, _ = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["BinomialOrdinalClassifier", "Bundle", "Predictions"]


def __dir__() -> list[str]:
    return list(__all__)
