"""How many people there are at each location, or in each area."""

from __future__ import annotations

import pandas as pd

from streetgauge.errors import InputError
from streetgauge.io.tables import as_table, choose_sheet, read_sheets, require_columns, to_numbers
from streetgauge.settings import PopulationSettings

__all__ = ["area_people", "location_people", "read_population"]


def read_population(settings: PopulationSettings) -> pd.Series:
    """Read numbers of people by postcode, location or area.

    Returns
    -------
    Series of float by key (str)
        Rows without a number are left out. Several rows of one key are added up: numbers by sex or
        age, say.

    Raises
    ------
    InputError
        If a column is absent, a cell is no number, or a number is negative.
    """
    sheet = choose_sheet(read_sheets(settings.file), settings.sheet, settings.file, "sheet")
    table = as_table(sheet)
    column = settings.location or settings.area
    kind = "location" if settings.location is not None else "area"
    named = {
        f"evaluation.population.{kind}": column,
        "evaluation.population.people": settings.people,
    }
    require_columns(table, named, sheet.title)
    people = to_numbers(table[settings.people], sheet.title)
    if (people < 0).any():
        row = people.index[people < 0][0]
        raise InputError(
            f"{sheet.title}, row {row}", "a negative number of people", "mend the cell"
        )
    keyed = pd.Series(people.to_numpy(), table[column].astype("str")).dropna()
    return keyed.groupby(level=0).sum()


def location_people(people: pd.Series, locations: pd.DataFrame) -> pd.Series:
    """Give the people of each location by its id, or by its postcode whatever the spaces in it.

    Of a postcode with several locations each has an equal part.

    Parameters
    ----------
    people : Series by location or postcode
        From `read_population`.
    locations : DataFrame
        ``location_id`` and ``postcode``.

    Returns
    -------
    Series of float by location
        Of the locations that it has a number for.

    Raises
    ------
    InputError
        If it has one for none.
    """
    ids = pd.Index(locations["location_id"])
    if ids.isin(people.index).any():
        return people.reindex(ids).dropna()
    key = locations["postcode"].str.replace(" ", "").str.upper().to_numpy()
    by_postcode = people.groupby(people.index.str.replace(" ", "").str.upper()).sum()
    found = by_postcode.reindex(key)
    several = pd.Series(key).map(pd.Series(key).value_counts()).to_numpy()
    result = pd.Series(found.to_numpy() / several, ids).dropna()
    if result.empty:
        raise InputError(
            "evaluation.population",
            "it has a number for no location or postcode of the study",
            f"its keys look like {people.index[0]!r}" if len(people) else "it is empty",
        )
    return result


def area_people(people: pd.Series, locations: pd.DataFrame) -> pd.Series:
    """Add the people of locations up: Series of float by area."""
    area = pd.Series(locations["area"].to_numpy(), locations["location_id"])
    return people.groupby(area.reindex(people.index)).sum()
