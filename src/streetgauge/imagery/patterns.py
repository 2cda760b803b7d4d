"""Patterns of file names: which location and view a name is of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from pathlib import PurePosixPath

from streetgauge.errors import InputError

# A pattern that ends with a field takes every suffix that an image may have, or none.
_ANY_SUFFIX = r"(?:\.(?i:jpe?g|jfif|png|webp|tiff?|bmp|gif|ppm|pgm|jp2|avif|hei[cf]))?"
_SUFFIX = re.compile(r"\.(jpe?g|png|webp|tiff?|bmp|gif|jp2|avif|hei[cf])$", re.IGNORECASE)
_TOKEN = re.compile(r"(\{location_id\}|\{view\}|\*)")
_VIEW, _LOCATION = "{view}", "{location_id}"


class Pattern:
    """A pattern like ``**/{location_id}_{view}.jpg``; all but its signs is literal.

    ``{location_id}`` and ``{view}`` stand for text without "/", ``*`` for any text without "/" or
    none, ``**/`` for any number of folders or none. Without a suffix at its end it fits the
    suffixes of all kinds of images; with one it fits that in all its spellings: ``.jpg`` is also
    ``.JPG`` and ``.jpeg``.

    Parameters
    ----------
    text : str
        The pattern.
    views : sequence of str
        What ``{view}`` can be. Of a pattern without it, every view is in every file.

    Raises
    ------
    InputError
        If it leaves the folder, or could be read in several ways.

    Examples
    --------
    >>> Pattern("**/{location_id}_{view}.*", ["a", "b"]).owners("x/SE1_9_b.png", {"SE1", "SE1_9"})
    [('SE1_9', 'b')]
    """

    def __init__(self, text: str, views: Sequence[str]) -> None:
        self.text, self.views = text, tuple(views)
        self.parts = PurePosixPath(text).parts
        if ".." in self.parts or PurePosixPath(text).is_absolute() or not self.parts:
            raise InputError(
                f"pattern {text!r}", "it leaves the folder", "name files below the folder"
            )
        several = any(part.count("*") > 1 and _LOCATION in part for part in self.parts)
        if several or self.parts.count("**") > 1 or self.parts[-1] == "**":
            raise InputError(
                f"pattern {text!r}",
                "it can be read in several ways",
                "write **/ once at most and not at its end, and one * next to {location_id}",
            )
        # Where a name may be read in several ways: which part is the id, which the star or suffix?
        self._wild = any("*" in part and _LOCATION in part for part in self.parts)
        self._wild |= self.parts[-1].endswith(_LOCATION)
        self._by_view = [
            (view, self._expression(view, lazy=True), self._expression(view, lazy=False))
            for view in (self.views if _VIEW in text else ("",))
        ]
        self._any = self._expression(None, lazy=not self.parts[-1].endswith(_LOCATION))

    @property
    def suffix(self) -> str:
        """The suffix as the pattern spells it; "" if it has none of an image."""
        known = _SUFFIX.search(self.parts[-1])
        return known[0] if known else ""

    @property
    def names_views(self) -> bool:
        """Whether it distinguishes views."""
        return _VIEW in self.text

    def owners(self, name: str, wanted: AbstractSet[str]) -> list[tuple[str, str]]:
        """Give every location and view that the name can be of; the view is "" if it names none.

        An id may hold any sign, also the pattern's own: only what is wanted decides how a name
        is meant. More than one owner means that nothing decides.
        """
        found = []
        for view, lazy, greedy in self._by_view:
            first = lazy.fullmatch(name)
            if first is None:
                continue
            one = first["location_id"]
            # The two ends of all readings: if they agree, there is no other.
            if not self._wild or greedy.fullmatch(name)["location_id"] == one:  # type: ignore[index]
                found += [(one, view)] if one in wanted else []
            else:
                found += [(location, view) for location in self._readings(name, view, wanted)]
        return found

    def parse(self, name: str) -> tuple[str, str] | None:
        """Give the location and view of a name by its shape alone; None if it does not fit."""
        match = self._any.fullmatch(name)
        if match is None:
            return None
        return match["location_id"], match["view"] if self.names_views else ""

    def fits(self, name: str) -> bool:
        """Whether the name fits, of whatever location and view."""
        return self._any.fullmatch(name) is not None

    def folder(self, depth: int) -> re.Pattern[str] | None:
        """Which folders to search at this depth; None if all."""
        if "**" in self.parts[: depth + 1]:
            return None
        return _part_expression(self.parts[depth])

    @property
    def depth(self) -> int | None:
        """How many folders deep files lie; None if any number."""
        return None if "**" in self.parts else len(self.parts) - 1

    def _readings(self, name: str, view: str, wanted: AbstractSet[str]) -> Iterator[str]:
        pieces = {
            part[i:j]
            for part in name.split("/")
            for i in range(len(part))
            for j in range(i + 1, len(part) + 1)
        }
        for location in sorted(pieces & wanted):
            if self._expression(view, lazy=True, location=location).fullmatch(name):
                yield location

    def _expression(
        self, view: str | None, *, lazy: bool, location: str | None = None
    ) -> re.Pattern[str]:
        seen: set[str] = set()
        texts = []
        for part in self.parts:
            if part == "**":
                texts.append("(?:[^/]+/)*")
                continue
            # Only the file's own suffix has several spellings, not that of an archive.
            known = _SUFFIX.search(part) if part is self.parts[-1] else None
            stem, suffix = (part[: known.start()], known[1]) if known else (part, "")
            for token in _TOKEN.split(stem):
                if token == "*":
                    # Lazy and greedy turned round: the star short and the id long, or contrary.
                    texts.append("[^/]*?" if lazy else "[^/]*")
                elif token == _LOCATION and location is not None:
                    texts.append(re.escape(location))
                elif token == _VIEW and view is not None:
                    texts.append(re.escape(view))
                elif token in (_LOCATION, _VIEW):
                    some = "[^/]+" if lazy and token == _LOCATION else "[^/]+?"
                    field = token[1:-1]
                    texts.append(f"(?P={field})" if field in seen else f"(?P<{field}>{some})")
                    seen.add(field)
                else:
                    texts.append(re.escape(token))
            texts += [_spellings(suffix)] if suffix else []
            texts.append("/")
        end = _ANY_SUFFIX if self.parts[-1].endswith("}") else ""
        return re.compile("".join(texts[:-1]) + end, re.DOTALL)


def _spellings(suffix: str) -> str:
    """Write a suffix as an expression of all its spellings."""
    plain = suffix.lower()
    known = {"jpg": "jpe?g", "jpeg": "jpe?g", "tif": "tiff?", "tiff": "tiff?"}.get(plain, plain)
    return rf"\.(?i:{known})"


@lru_cache(maxsize=64)
def _part_expression(part: str) -> re.Pattern[str]:
    texts = (
        "[^/]*" if _TOKEN.fullmatch(token) else re.escape(token) for token in _TOKEN.split(part)
    )
    return re.compile("".join(texts), re.DOTALL)
