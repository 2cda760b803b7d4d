"""The errors that a user can fix, each one sentence: the object, the reason, the next step."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from importlib.util import find_spec

__all__ = ["StreetgaugeError", "InputError"]

_JOINERS = "\u200c\u200d"  # of letters in some scripts, and of emoji
_MOST = 600  # characters of a file's text that an error repeats
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


class StreetgaugeError(Exception):
    """Base of every error that this package raises on purpose.

    Examples
    --------
    >>> issubclass(InputError, StreetgaugeError)
    True
    """


class Stopped(SystemExit):
    """A signal that ends the process: all is closed as by Ctrl-C, and the exit code is its own.

    Parameters
    ----------
    name : str
        Of the signal, e.g. SIGTERM.
    number : int
        Of the signal; the exit code is 128 more.
    """

    def __init__(self, name: str, number: int) -> None:
        super().__init__(128 + number)
        self.number = number
        self.sentence = (
            f"It was stopped by {name}; what is done stays, and the same command goes on from it."
        )


class InputError(StreetgaugeError):
    """Something that the user gave cannot be used as it is.

    What it repeats from a file stays one line: signs that move a terminal's cursor are written as
    escapes, and what is longer than a few lines is cut off.

    Parameters
    ----------
    subject : object
        What it is about: a file, a row, a column, a setting.
    reason : str
        What is wrong with it, with the value that was found.
    next_step : str, optional
        What to do about it.

    Examples
    --------
    >>> print(InputError("income.csv", "there is no column 'Mean'", "the columns are Code, Median"))
    income.csv: there is no column 'Mean'; the columns are Code, Median.
    """

    def __init__(self, subject: object, reason: str, next_step: str = "") -> None:
        self.subject = _one_line(str(subject))
        self.reason = reason = _one_line(" ".join(reason.splitlines()))  # a library's may be many
        self.next_step = next_step = _one_line(next_step)
        sentence = f"{self.subject}: {reason}"
        if next_step:
            sentence += f"; {next_step}"
        super().__init__(sentence if sentence.endswith(("?", ".")) else sentence + ".")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        """Pass on all three parts on the way from another process."""
        return type(self), (self.subject, self.reason, self.next_step)


def visible(text: str) -> str:
    r"""Write signs that a terminal would act on, or could not show, as escapes.

    Line ends, other control characters, marks that turn the direction of text, and the bytes of a
    file's name that are not UTF-8, as Python has them in a string.

    Examples
    --------
    >>> print(visible("leeds[draft]"), visible("a\nb\x1b[2J"), visible("v\udcff"))
    leeds[draft] a\nb\x1b[2J v\xff
    """
    return text if text.isprintable() else "".join(map(_visible_sign, text))


def missing_torch() -> InputError:
    """Report that PyTorch is needed: what trains networks and reads images does."""
    return InputError(
        "PyTorch",
        "it is not installed, and images and training need it",
        "pip install torch --index-url https://download.pytorch.org/whl/cpu",
    )


def require_torch() -> None:
    """Refuse to go on without PyTorch, before anything is removed that only it can make."""
    if find_spec("torch") is None:
        raise missing_torch()


def summary(error: object, limit: int = 200) -> str:
    r"""Give the beginning of another program's message, up to the end of a sentence if it has one.

    Parameters
    ----------
    error : Exception or str
        Its first line is taken, and further lines until a sentence ends; of an exception without
        a message, its type.
    limit : int
        Characters, at most. A sentence that is longer is cut after a word, and ends in "...".

    Examples
    --------
    >>> summary("Cannot open it. Is it a GeoTIFF?\nTraceback (most recent call last)")
    'Cannot open it. Is it a GeoTIFF?'
    >>> summary("The header is broken. Nothing more can be read of this file", limit=30)
    'The header is broken'
    """
    lines = [" ".join(line.split()) for line in str(error).strip().splitlines()]
    text, *more = lines or [""]
    if more and not _SENTENCE_END.search(text):
        first = _SENTENCE_END.search(rest := " ".join(more))
        text = f"{text} {rest[: first.end()] if first else rest}"
    if len(text) > limit:
        ends = [at for end in _SENTENCE_END.finditer(text) if (at := end.end()) <= limit]
        text = text[: ends[-1]] if ends else f"{text[: limit - 3].rpartition(' ')[0]} ..."
    return (text if text.endswith("...") else text.rstrip(".: ")) or type(error).__name__


def _visible_sign(sign: str) -> str:
    if sign.isprintable() or sign in _JOINERS or unicodedata.category(sign) == "Zs":
        return sign
    if "\udc80" <= sign <= "\udcff":  # a byte that is not UTF-8, see PEP 383
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode("ascii")


def _one_line(text: str) -> str:
    plain = "".join(sign if sign.isprintable() else " " for sign in visible(text))
    return plain if len(plain) <= _MOST else f"{plain[:_MOST]} ..."


def closest(word: str, known: Iterable[object], *, limit: int = 6) -> str:
    """Name the closest known word, or the first few known ones: the next step of an error.

    Examples
    --------
    >>> closest("opoch", ["epochs", "batch"])
    "did you mean 'epochs'?"
    >>> closest("zzz", ["epochs", "batch"])
    'there are epochs, batch'
    """
    names = [str(name) for name in known]
    match = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if match:
        return f"did you mean {match[0]!r}?"
    if not names:
        return "there are none"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"there are {', '.join(names[:limit])}{more}"
