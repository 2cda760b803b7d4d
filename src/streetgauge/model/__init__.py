"""The model: the binomial head, the network, the training loop, cross-validation, bundles.

Names are imported when they are asked for: torch takes a second.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
