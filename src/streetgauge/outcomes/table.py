"""Any table with one row an area."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import reduce

import pandas as pd

from streetgauge.errors import InputError, closest
from streetgauge.io.tables import as_codes, read_columns, refuse_numbers, to_numbers
from streetgauge.outcomes.outcome import (
    ALL,
    Outcome,
    empty_cells,
    one_row_an_area,
    provenance,
    refuse_no_decile,
    stray_cells,
    wide_table,
)
from streetgauge.settings import TableOutcome

_BETWEEN = " / "  # texts of several columns that name a measure

# A variable of the American Community Survey, estimate or margin of error: 'B19013_001E'. Its
# tables have what no other does: a second header, numbers that stand for missing ones (U.S. Census
# Bureau, "Notes on ACS Estimate and Annotation Values"), and medians cut off at "250,000+".
_ACS = re.compile(r"(?:B|C|S|DP|CP)\d{2,5}[A-Z]*(?:PR)?(?:_C\d{2})?_\d{3,4}(?:PE|PM|E|M)")
_ACS_MISSING = frozenset([*(f"-{digit * 9}" for digit in "235689"), "N", "(X)", "***", "*****"])
_ACS_LABEL = "!!"
_ACS_OPEN = re.compile(r"^([\d,]+(?:\.\d+)?)[+-]$")


def read_table(name: str, settings: TableOutcome, *, classes: int = 10) -> Outcome:
    """Read a column of values (or several, as one), and of published deciles if one is named.

    Parameters
    ----------
    name : str
        The outcome's key.
    settings : TableOutcome
        File, columns and direction. Titles above the header are passed over.
    classes : int, default 10
        The highest published decile that can be.

    Returns
    -------
    Outcome
        Values as in the file; missing where any of several columns is.

    Raises
    ------
    InputError
        If a column is absent, a cell is text that is not a known missing mark, a decile is not 1 to
        ``classes`` or runs against the direction, a share is not 0 to 1, a code lacks its prefix or
        is too long, or an area is repeated with different values.
    """
    path = settings.file
    table, title = _named_columns(settings)
    table, codes, notes = _of_areas(table, settings, title)
    names = _listed(settings.value)
    cells = table[list(names)].apply(lambda column: _without_marks(column, settings.missing))
    numbers = pd.DataFrame({each: to_numbers(cells[each], title) for each in names})
    value = _combined(numbers, settings.combine, title)
    columns = value.to_frame()
    if settings.decile is not None:
        decile = to_numbers(table[settings.decile], title)
        refuse_no_decile(decile, title, classes)
        columns = columns.assign(**{settings.decile: decile})  # it may be the value itself
    by_area = one_row_an_area(codes, columns, title)
    if settings.decile is not None:
        _refuse_contrary(by_area.iloc[:, 0], by_area[settings.decile], settings, title)
    return Outcome(
        name=name,
        label=settings.label or name,
        values=by_area.iloc[:, 0],
        direction=settings.direction,
        published=by_area[settings.decile].astype("Int64") if settings.decile else None,
        provenance=provenance(
            "table",
            [path],
            {
                "area": " + ".join(_listed(settings.area)),
                "value": str(value.name),
                **({"decile": settings.decile} if settings.decile is not None else {}),
            },
            rows_without_code=int((codes == "").sum()),
        ),
        notes=notes,
        missing=_reasons(codes, table[list(names)], numbers, settings.combine),
    )


def _listed(columns: str | Sequence[str]) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _named_columns(settings: TableOutcome) -> tuple[pd.DataFrame, str]:
    """Text of the columns that the settings name, and the title of their sheet."""
    wide: dict[str, str | Sequence[str] | None] = {
        "value": settings.value,
        "decile": settings.decile,
    }
    long = {"measure": settings.measure, "number": settings.number}
    named: dict[str, str] = {}
    for key, columns in {"area": settings.area, **(long if settings.measure else wide)}.items():
        each = _listed(columns) if columns is not None else ()
        named |= {key if len(each) == 1 else f"{key} {n}": c for n, c in enumerate(each, start=1)}
    part, setting = (
        (settings.layer, "layer") if settings.layer is not None else (settings.sheet, "sheet")
    )
    table, title = read_columns(settings.file, named, part, setting)
    table = table[sorted(set(named.values()))]
    if settings.measure is not None:
        return _wide(table, settings, title), title
    if len(table) and any(_ACS_LABEL in cell for cell in table.iloc[0]):
        return table.iloc[1:], title  # the second header: what the first one's codes mean
    return table, title


def _joined(parts: pd.DataFrame, between: str) -> pd.Series:
    return reduce(lambda text, part: text + between + part, (parts[each] for each in parts))


def _wide(table: pd.DataFrame, settings: TableOutcome, title: str) -> pd.DataFrame:
    """Lay a long table out with a row an area: a column for each measure that is asked for."""
    areas = table[list(_listed(settings.area))]
    entry = _joined(table[list(_listed(settings.measure or ()))], _BETWEEN)
    wanted = [*_listed(settings.value), *([settings.decile] if settings.decile else [])]
    for each in wanted:
        if each != ALL and not (entry == each).any():
            raise InputError(title, f"no row measures {each!r}", closest(each, entry.unique()))
    rows = entry.index if ALL in wanted else entry.index[entry.isin(wanted)]
    key = _joined(areas.loc[rows], _BETWEEN)
    texts = wide_table(key, entry[rows], table[str(settings.number)][rows], title)
    return pd.concat([areas.loc[texts.index], texts[list(dict.fromkeys(wanted))]], axis="columns")


def _without_marks(cells: pd.Series, missing: Sequence[str]) -> pd.Series:
    """Empty the cells that hold a mark of a missing value, and no number."""
    survey = _ACS.fullmatch(str(cells.name)) is not None
    marks = {*missing, *(_ACS_MISSING if survey else ())}
    plain = cells.str.removesuffix(".0") if survey else cells
    emptied = cells.mask(plain.isin(marks), "")
    return emptied.str.replace(_ACS_OPEN, r"\1", regex=True) if survey else emptied


def _of_areas(
    table: pd.DataFrame, settings: TableOutcome, title: str
) -> tuple[pd.DataFrame, pd.Series, tuple[str, ...]]:
    """Rows of the areas, their codes ("" in rows without one), and notes on what is passed over."""
    parts = table[list(_listed(settings.area))].apply(as_codes)
    codes = _joined(parts, "").where((parts != "").all(axis=1), "")
    notes = stray_cells(table)
    if settings.area_prefix is not None:
        others = (codes != "") & ~codes.str.startswith(settings.area_prefix)
        if others.sum() == (codes != "").sum():
            _refuse_code(codes, others, title, f"does not start with {settings.area_prefix!r}")
        if others.any():
            notes += (
                f"{others.sum():,} {'row' if others.sum() == 1 else 'rows'} of other geographies "
                f"passed over, e.g. {codes[others].iloc[0]!r}",
            )
        table, codes = table[~others], codes[~others].str.removeprefix(settings.area_prefix)
    if settings.area_width is not None:
        long = codes.str.len() > settings.area_width
        _refuse_code(codes, long, title, f"has more than {settings.area_width} characters")
        codes = codes.where(codes == "", codes.str.zfill(settings.area_width))
    return table, codes, notes


def _refuse_code(codes: pd.Series, wrong: pd.Series, title: str, reason: str) -> None:
    if wrong.any():
        row = codes.index[wrong][0]
        step = "fix area_prefix or area_width, or the column named in 'area'"
        raise InputError(f"{title}: row {row}", f"area {codes[row]!r} {reason}", step)


def _combined(numbers: pd.DataFrame, combine: str | None, title: str) -> pd.Series:
    """Make one value of several columns; one of them missing makes it missing."""
    names = list(numbers.columns)
    if combine is None:
        return numbers[names[0]]
    if combine == "mean":
        return numbers.mean(axis=1, skipna=False).rename(f"mean of {' and '.join(names)}")
    if combine == "sum":
        return numbers.sum(axis=1, skipna=False).rename(" + ".join(names))
    for column in names:
        refuse_numbers(
            numbers[column] < 0, numbers[column], title, "a negative count", "fix the cell"
        )
    total = numbers[names[-1]]
    share = numbers[names[:-1]].sum(axis=1, skipna=False) / total.where(total > 0)
    share = share.rename(f"({' + '.join(names[:-1])}) / {names[-1]}")
    refuse_numbers(
        share > 1, share, title, "not a share: it is over 1", "name the total last in 'value'"
    )
    return share


def _refuse_contrary(
    values: pd.Series, deciles: pd.Series, settings: TableOutcome, title: str
) -> None:
    """Refuse published deciles whose 1 is the better end, or a direction that is the wrong one."""
    along = values.rank().corr(deciles.rank(), min_periods=10)  # NaN: nothing is known
    sign = 1 if settings.direction == "higher-is-better" else -1
    if along * sign < -0.5:
        raise InputError(
            f"{title}, column {settings.decile!r}",
            f"decile 1 goes with the {'highest' if sign > 0 else 'lowest'} values of "
            f"{values.name!r}, and with direction = {settings.direction!r} those are the best off",
            "fix the direction, or remove deciles that are numbered the other way",
        )


def _reasons(
    codes: pd.Series, cells: pd.DataFrame, numbers: pd.DataFrame, combine: str | None
) -> dict[str, str]:
    """Name for every area without a value the cell that lacks, the first of several."""
    reasons: dict[str, str] = {}
    for column in cells:
        reasons = empty_cells(codes, cells[column], numbers[column]) | reasons
    if combine == "share":
        zero = codes[(numbers.iloc[:, -1] == 0) & (codes != "")]
        reasons = dict.fromkeys(zero, f"column {cells.columns[-1]!r} is 0") | reasons
    return reasons
