from __future__ import annotations

import tomllib
from typing import get_args

import pytest
from pydantic import TypeAdapter

from streetgauge.outcomes import MEASURES, Source, sources
from streetgauge.outcomes.indices import INDICES
from streetgauge.settings import DeprivationOutcome, OutcomeSettings

LISTED = {source.name: source for source in sources()}


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.name)
def test_the_lines_of_a_source_are_an_entry_of_study_toml_that_can_be_used(source: Source) -> None:
    entries = tomllib.loads(source.lines)["outcomes"]
    for entry in entries.values():
        settings = TypeAdapter(OutcomeSettings).validate_python(entry)
        assert settings.source == source.name
    assert source.layouts
    assert source.measures
    assert source.publisher
    assert source.licence


def test_every_source_of_the_settings_is_listed() -> None:
    models = get_args(get_args(OutcomeSettings)[0])
    assert set(LISTED) == {get_args(model.model_fields["source"].annotation)[0] for model in models}


def test_every_measure_index_and_domain_that_can_be_read_is_listed() -> None:
    census, indices = "\n".join(LISTED["census"].measures), LISTED["deprivation"]
    assert all(f"{name}: " in census for name in MEASURES)
    shown = "\n".join(indices.layouts)
    for title in ("England", "Welsh", "Scottish", "Northern Ireland", "2015", "2019", "2025"):
        assert title.removesuffix("and") in shown
    domains = get_args(DeprivationOutcome.model_fields["domain"].annotation)
    assert all(domain in indices.measures[0] for domain in domains)
    assert all(index.publisher in indices.publisher for index in INDICES)
