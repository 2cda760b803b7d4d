"""What further commands have found of a study: a section of the page for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streetgauge.report.text.change import change_sentences
from streetgauge.report.text.numbers import general, number
from streetgauge.report.text.sampling import sample_sentences
from streetgauge.report.text.survey import survey_sentences

if TYPE_CHECKING:  # the page has it; who prints sentences does not wait for tables and images
    from streetgauge.report.data import ReportData

__all__ = ["Asked", "asked_of"]


@dataclass(frozen=True)
class Asked:
    """A section: the finding in a sentence, a small table, what else holds, and where the map is.

    Parameters
    ----------
    name : str
        The command, and what its files are called.
    title : str
    sentences : sequence of str
        The first is the finding.
    columns : sequence of str
        Of the table; the first is of words, the others are of numbers.
    rows : sequence of sequence of str
    files : str
        Where the map, or else the table, is.
    """

    name: str
    title: str
    sentences: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    files: str


def asked_of(data: ReportData, labels: Mapping[str, str]) -> list[Asked]:
    """Give the sections of what has been asked of a study.

    Parameters
    ----------
    data : ReportData
        ``change``, ``sample`` and ``survey``.
    labels : mapping
        What outcomes are called.
    """
    mapped = "geometry" in data.areas.columns
    found = (
        ("change", data.change, _change),
        ("sample", data.sample, _sample),
        ("survey", data.survey, _survey),
    )
    return [
        Asked(name, *section(each, labels), _files(name, mapped=mapped))
        for name, each, section in found
        if each is not None
    ]


Section = tuple[str, Sequence[str], Sequence[str], Sequence[Sequence[str]]]


def _change(change: Mapping[str, Any], labels: Mapping[str, str]) -> Section:
    columns = ("Outcome", "Areas with a change", "Removed from all", "Would be noticed")
    rows = [
        (
            labels.get(name, name),
            f"{each['n_flagged']:,}",
            number(each["shift"], 1, sign=True),
            number(each["detectable"], 1),
        )
        for name, each in change["outcomes"].items()
        if each
    ]
    return f"Change to {change['other']}", change_sentences(change, labels), columns, rows


def _sample(sample: Mapping[str, Any], labels: Mapping[str, str]) -> Section:
    names = {"now": "Now", "planned": "With the plan"}
    if sample["travel"] is None:  # else chance would cost more
        names["at_random"] = "As many at random"
    rows = [(title, number(sample["error"][key])) for key, title in names.items()]
    return "Where to take images next", sample_sentences(sample), ("", "Expected error"), rows


def _survey(survey: Mapping[str, Any], labels: Mapping[str, str]) -> Section:
    rows = [
        (labels.get(name, name), general(each["value"]), general(each["standard_error"]))
        for name, each in survey["coefficients"].items()
    ]
    title = f"A survey with images: {survey['survey']}"
    return title, survey_sentences(survey), ("", "Coefficient", "Standard error"), rows


def _files(name: str, *, mapped: bool) -> str:
    if not mapped:
        return f"All areas are in {name}.parquet in the study’s directory."
    return (
        f"The map is {name}.png in the study’s directory, and {name}.gpkg for a GIS; the table is "
        f"{name}.parquet."
    )
