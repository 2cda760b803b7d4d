"""One HTML page: what was found, its evaluation, and what it was made from."""

import lazy_loader

__getattr__, _, _ = lazy_loader.attach_stub(__name__, __file__)
__all__ = ["Figure", "draw_figures", "processes", "save_figures"]


def __dir__() -> list[str]:
    return list(__all__)
