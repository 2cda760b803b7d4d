"""Fonts that are embedded fast: read once, as far as they are used."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["small_fonts"]

TYPESETTING = ("GDEF", "GPOS", "GSUB", "MATH", "kern")  # tables of a font
USUAL = {*map(chr, range(0x20, 0x7F)), *"–’“”…−ρτ"}  # what every figure is written in

_small: dict[tuple[str, int], tuple[set[int], bytes]] = {}  # by file and face: glyphs, font


@contextmanager
def small_fonts() -> Iterator[None]:
    """Embed fonts from a part that is kept, without what only setting type asks for.

    A font has thousands of glyphs, of which a figure has thirty; to read them all takes most of the
    time that a PDF takes. The file is the same, byte by byte, as with the whole font.
    """
    from fontTools import subset  # type: ignore[import-untyped]
    from matplotlib.backends import _backend_pdf_ps as embedding

    load, subset_of = subset.load_font, embedding.get_glyphs_subset
    wanted: list[set[int]] = []  # the glyphs that are being embedded, where matplotlib says them

    def known(fontfile: Any, glyphs: Any) -> Any:
        wanted.append(set(glyphs) if all(isinstance(each, int) for each in glyphs) else set())
        try:
            return subset_of(fontfile, glyphs)
        finally:
            wanted.pop()

    def bare(file: Any, options: Any, *more: Any, **named: Any) -> Any:
        def whole() -> Any:
            return _without_typesetting(load(file, options, *more, **named))

        if not wanted or not wanted[-1]:
            return whole()
        part = _part(whole, (str(file), int(options.font_number)), wanted[-1], options)
        return load(io.BytesIO(part), options, *more, **named)

    module: Any = embedding
    subset.load_font, module.get_glyphs_subset = bare, known
    try:
        yield
    finally:
        subset.load_font, module.get_glyphs_subset = load, subset_of


def _without_typesetting(font: Any) -> Any:
    for table in TYPESETTING:
        if table in font:
            del font[table]
    return font


def _part(whole: Callable[[], Any], key: tuple[str, int], glyphs: set[int], options: Any) -> bytes:
    """Give the part of a font that has these glyphs, and the usual ones, under their numbers."""
    kept, content = _small.get(key, (set(), b""))
    if content and glyphs <= kept:
        return content
    from fontTools import subset

    font = whole()
    named = font.getBestCmap()
    usual = {font.getGlyphID(named[ord(c)]) for c in USUAL if ord(c) in named}
    kept = kept | usual | glyphs
    options = copy.copy(options)
    options.retain_gids = True
    cut = subset.Subsetter(options=options)
    cut.populate(gids=kept)
    with font, io.BytesIO() as stream:
        cut.subset(font)
        font.save(stream, reorderTables=False)
        _small[key] = kept, stream.getvalue()
    return _small[key][1]
