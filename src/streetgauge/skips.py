"""What is excluded, and why: one shape of table, everywhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from streetgauge.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


SKIP_COLUMNS = ("location_id", "view", "area", "stage", "reason")

# What an archive's listing has on members that are not read.
_MEMBERS = re.compile(r"archive .+?: (?P<count>\d+) of its members (?P<why>.+), e\.g\. ")


class AllExcludedError(InputError):
    """Everything was excluded, so that a stage cannot go on.

    Parameters
    ----------
    subject, reason, next_step
        As of `InputError`.
    skips : DataFrame
        What was excluded, and why: as of `skips_frame`.
    """

    def __init__(self, subject: object, reason: str, next_step: str, skips: pd.DataFrame) -> None:
        super().__init__(subject, reason, next_step)
        self.skips = skips

    def __reduce__(self) -> tuple[type[AllExcludedError], tuple[Any, ...]]:
        """Pass on all parts on the way from another process."""
        return type(self), (self.subject, self.reason, self.next_step, self.skips)


def skips_frame(rows: Iterable[Mapping[str, str | None]], stage: str = "features") -> pd.DataFrame:
    """Skips as a frame of text, sorted; what a row does not name is None."""
    import pandas as pd

    records = [{**dict.fromkeys(SKIP_COLUMNS), "stage": stage, **row} for row in rows]
    frame = pd.DataFrame(records, columns=list(SKIP_COLUMNS)).astype(object)
    frame = frame.where(frame.notna(), None)
    order = ["location_id", "view", "reason"]
    return frame.sort_values(order, key=lambda values: values.fillna(""), ignore_index=True)


def describe_skips(skips: pd.DataFrame) -> tuple[str, ...]:
    """Count what was excluded by reason, for the screen.

    Examples
    --------
    >>> describe_skips(skips_frame([{"location_id": "A", "reason": "it has no coordinates"}]))
    ('1 location excluded: it has no coordinates',)
    """
    if not len(skips):
        return ()
    import pandas as pd

    members: Counter[tuple[str, str]] = Counter()
    counts: Counter[tuple[str, str]] = Counter()
    nouns = pd.Series("", skips.index)  # of a file or an archive, which the reason names
    for column, noun in (("area", "area"), ("location_id", "location"), ("view", "view")):
        if column in skips:
            nouns[skips[column].notna()] = noun
    for (reason, noun), rows in Counter(zip(skips["reason"], nouns, strict=True)).items():
        if found := _MEMBERS.match(str(reason)):  # one row stands for many members
            members[f"they {found['why']}", "member of archives"] += int(found["count"])
        else:
            counts[str(reason), noun] = rows
    most = (counts + members).most_common()
    lines = [f"{_counted(count, noun)} excluded: {reason}" for (reason, noun), count in most[:6]]
    if len(most) > 6:
        rest = sum(count for _, count in most[6:])
        lines.append(f"{rest:,} excluded for {len(most) - 6} other reasons")
    return tuple(lines)


def _counted(number: int, noun: str) -> str:
    if not noun:
        return f"{number:,}"
    one, of, of_what = noun.partition(" of ")
    return counted(number, one) + of + of_what


def counted(number: int, noun: str) -> str:
    """Write a number of things.

    Examples
    --------
    >>> counted(1, "view"), counted(1280, "feature")
    ('1 view', '1,280 features')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def without_value(about: Mapping[str, Any]) -> str:
    """Report which share of the study's areas an outcome has no value for; "" if of none.

    Parameters
    ----------
    about : mapping
        What is stored of the outcome; ``n_areas`` have a value, ``n_missing`` have none.

    Examples
    --------
    >>> without_value({"n_areas": 96, "n_missing": 4})
    '4% of areas have no value'
    """
    missing, having = about.get("n_missing") or 0, about.get("n_areas") or 0
    if not missing:
        return ""
    share = 100 * missing / (missing + having)
    return f"{'under 1' if share < 1 else f'{share:.0f}'}% of areas have no value"
