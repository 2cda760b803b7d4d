"""`streetgauge outcomes`: what can be read, what a study has, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

Run = Callable[..., tuple[int, str, str]]
Refuse = Callable[..., str]


def rows(out: str) -> dict[str, list[str]]:
    """The lines of a printed table by their first word."""
    return {line.split()[0]: line.split() for line in out.splitlines() if line.split()}


def real_codes(grid: Path, codes: list[str], column: str = "code") -> None:
    """Give the areas of the small world other codes."""
    frame = pd.read_csv(grid / "outcomes.csv")
    boundaries = json.loads((grid / "areas.geojson").read_text(encoding="utf-8"))
    new = dict(zip(frame["code"], codes, strict=True))
    for feature in boundaries["features"]:
        own = feature["properties"]
        own[column] = new[own.pop("code")]
    (grid / "areas.geojson").write_text(json.dumps(boundaries), encoding="utf-8")
    frame["code"] = frame["code"].map(new)
    frame.to_csv(grid / "outcomes.csv", index=False)
    toml = (grid / "study.toml").read_text(encoding="utf-8")
    text = toml.replace('code = "code"', f'code = "{column}"', 1)
    (grid / "study.toml").write_text(text, encoding="utf-8")


def test_list_shows_every_source_with_the_lines_to_write(run: Run) -> None:
    code, out, err = run("outcomes", "list")
    assert (code, err) == (0, "")
    for text in ("census", "deprivation", "income", "table", "bad-health", "Welsh Index"):
        assert text in out
    for line in ('source = "census"', 'measure = "bad-health"', 'direction = "higher-is-better"'):
        assert line in out
    code, out, _ = run("outcomes", "list", "--json")
    assert [each["name"] for each in json.loads(out)] == [
        "census",
        "deprivation",
        "income",
        "table",
    ]


def test_a_study_s_outcomes_are_summed_up_also_when_up_to_date(run: Run, grid: Path) -> None:
    frame = pd.read_csv(grid / "outcomes.csv")
    frame["income"] = frame["income"] * 1000
    frame.loc[:4, "illness"] = None
    frame.to_csv(grid / "outcomes.csv", index=False)
    code, out, err = run("outcomes", grid)
    assert code == 0
    shown = rows(out)
    # 49 areas with 0, 1000, .. 48,000, in the order of study.toml.
    assert shown["income"] == ["income", "49", "0", "better", "0", "24,000", "48,000", "OA", "2011"]
    assert shown["illness"][1:4] == ["44", "5", "worse"]
    assert list(shown).index("income") < list(shown).index("illness")
    code, again, err = run("outcomes", grid)
    assert "up to date" in err
    assert again == out
    assert run("outcomes", grid, "-q") == (0, out, "")


def test_machines_get_the_summary_as_json_and_info_says_it_too(run: Run, grid: Path) -> None:
    code, out, _ = run("outcomes", grid, "--json")
    assert code == 0
    summary = {each["outcome"]: each for each in json.loads(out)}
    about = summary["income"]
    assert (about["n_areas"], about["n_missing"]) == (49, 0)
    assert (about["min"], about["median"], about["max"]) == (0, 24, 48)
    assert about["direction"] == "higher-is-better"
    facts = json.loads(run("info", grid, "--json")[1])
    assert facts["outcome income"].startswith("49 areas, 0 missing; higher is better; 0 / 24 / 48 ")


def test_a_directory_called_list_is_named_with_its_path(
    run: Run, grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid.rename(grid.with_name("list"))
    monkeypatch.chdir(grid.parent)
    assert "income" in rows(run("outcomes", "./list")[1])


def test_an_outcome_whose_direction_is_unstated_is_refused(refuse: Refuse, grid: Path) -> None:
    text = (grid / "study.toml").read_text(encoding="utf-8")
    for source, lines in {
        "table": 'source = "table"\nfile = "outcomes.csv"\narea = "code"\nvalue = "illness"\n',
        "census": 'source = "census"\nfiles = ["outcomes.csv"]\nnumerator = ["illness"]\n'
        'denominator = ["income"]\n',
    }.items():
        start, end = text.index("[outcomes.illness]"), text.index("[locations]")
        toml = text[:start] + f"[outcomes.illness]\n{lines}\n" + text[end:]
        (grid / "study.toml").write_text(toml, encoding="utf-8")
        sentence = refuse("outcomes", grid)
        assert "outcomes.illness" in sentence, source
        assert "direction" in sentence, source


def test_outcomes_of_other_years_are_refused_until_the_lookup_is_named(
    run: Run, refuse: Refuse, grid: Path
) -> None:
    new = [f"E010338{n:02d}" for n in range(49)]
    real_codes(grid, new, "LSOA21CD")
    old = [f"E010000{n:02d}" for n in range(49)]
    frame = pd.read_csv(grid / "outcomes.csv")
    frame.assign(code=frame["code"].map(dict(zip(new, old, strict=True)))).to_csv(
        grid / "outcomes.csv", index=False
    )
    sentence = refuse("outcomes", grid)
    assert "has the LSOAs of 2011, the study those of 2021: 49 of 49 areas" in sentence
    assert "lookup = " in sentence
    pairs = pd.DataFrame({"LSOA11CD": old, "CHGIND": "S", "LSOA21CD": new})
    pairs.drop(index=[7]).to_csv(grid / "lookup.csv", index=False)
    text = (grid / "study.toml").read_text(encoding="utf-8")
    toml = text.replace("[areas]\n", '[areas]\nlookup = "lookups.csv"\n')
    (grid / "study.toml").write_text(toml, encoding="utf-8")
    assert "did you mean 'lookup.csv'" in refuse("outcomes", grid)
    (grid / "study.toml").write_text(toml.replace("lookups", "lookup"), encoding="utf-8")
    code, out, err = run("outcomes", grid)
    assert code == 0, err
    assert rows(out)["income"][1:3] == ["48", "1"]
    assert "LSOA 2011, carried to LSOA 2021" in " ".join(out.split())
    skipped = pd.read_parquet(grid / "skipped.parquet")
    assert set(skipped["area"]) == {new[7]}
    assert "income: the lookup lookup.csv has no row for it" in set(skipped["reason"])
    facts = json.loads(run("info", grid / "outcomes.parquet", "--json")[1])
    assert facts["income"]["lookup"]["absent"] == 1
    (grid / "lookup.csv").write_text("Postcode,Name\nAB1,x\n")
    assert "lookup.csv: this is not a lookup" in refuse("outcomes", grid)


def test_a_file_with_codes_of_two_vintages_is_refused(refuse: Refuse, grid: Path) -> None:
    real_codes(grid, [f"S010070{n:02d}" for n in range(49)])
    text = (grid / "outcomes.csv").read_text(encoding="utf-8")
    (grid / "outcomes.csv").write_text(text + "S01000001,1,1\n", encoding="utf-8")
    sentence = refuse("outcomes", grid)
    assert "the file mixes codes of two vintages: 'S01000001'" in sentence
    assert "outcomes.csv" in sentence


def test_a_table_without_rows_and_a_box_of_three_numbers_are_one_sentence(
    refuse: Refuse, grid: Path
) -> None:
    (grid / "outcomes.csv").write_text("code,income,illness\n", encoding="utf-8")
    sentence = refuse("outcomes", grid)
    assert "has none of the study's areas: it has no area at all, the study 'E0" in sentence
    text = (grid / "study.toml").read_text(encoding="utf-8")
    toml = text.replace("[areas]\n", "[areas]\nbbox = [1.0, 2.0, 3.0]\n")
    (grid / "study.toml").write_text(toml, encoding="utf-8")
    sentence = refuse("outcomes", grid)
    assert "areas.bbox: [1.0, 2.0, 3.0] has too few values; give all of it: only areas" in sentence
