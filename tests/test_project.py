"""What surrounds the package: workflows, templates, the container, the changelog."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from streetgauge.model.bundle import FILES
from streetgauge.pipeline.info import file_info
from streetgauge.version import __version__

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def jobs() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Give the name, the workflow and the job of all jobs."""
    found = []
    for file in WORKFLOWS:
        workflow = yaml.safe_load(file.read_text("utf-8"))
        found += [(f"{file.stem} {n}", workflow, job) for n, job in workflow["jobs"].items()]
    return found


def test_every_action_is_pinned_to_a_commit_and_names_its_version() -> None:
    uses = [line for file in WORKFLOWS for line in file.read_text("utf-8").splitlines()]
    uses = [line for line in uses if "uses:" in line]
    assert len(uses) >= 10
    for line in uses:
        assert re.search(r"uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_jobs_may_do_only_what_they_need_and_end() -> None:
    allowed = {"contents": "read"}
    for name, workflow, job in jobs():
        permissions = job.get("permissions", workflow["permissions"])
        expected = {"id-token": "write"} if name == "release publish" else allowed
        assert permissions == expected, name
        assert job["timeout-minutes"] <= 90, name
        assert "secrets." not in str(job), name
        for step in job["steps"]:
            if "actions/checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False, name


def test_every_python_that_is_claimed_is_tested_on_three_systems() -> None:
    (tests,) = [job for name, _, job in jobs() if name == "test tests"]
    matrix = tests["strategy"]["matrix"]
    versions = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if "Python :: 3." in c]
    assert matrix["python"] == versions
    systems = {*matrix["os"], *(each["os"] for each in matrix["include"])}
    assert {system.partition("-")[0] for system in systems} == {"ubuntu", "macos", "windows"}
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_only_a_tag_releases_and_only_what_was_built_and_tested() -> None:
    workflow = yaml.safe_load(read(".github/workflows/release.yml"))
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads "on" as true
    assert workflow["jobs"]["publish"]["needs"] == "build"
    assert workflow["jobs"]["publish"]["environment"] == "pypi"


def test_the_version_is_the_same_everywhere() -> None:
    assert f"\n## [{__version__}]" in read("CHANGELOG.md")
    assert yaml.safe_load(read("CITATION.cff"))["version"] == __version__


def test_templates_and_settings_of_services_can_be_read() -> None:
    files = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".readthedocs.yaml"]
    assert len(files) == 7
    assert all(isinstance(yaml.safe_load(file.read_text("utf-8")), dict) for file in files)


def test_the_container_runs_as_no_root_and_on_a_python_that_is_tested() -> None:
    lines = read("Dockerfile").splitlines()
    users = [line for line in lines if line.startswith("USER ")]
    assert users[-1] == "USER 1000"
    assert lines.index(users[-1]) < lines.index('ENTRYPOINT ["streetgauge"]')
    for line in lines:
        if found := re.match(r"FROM python:([\d.]+)-slim", line):
            assert f"Programming Language :: Python :: {found[1]}" in PROJECT["classifiers"]


def test_pages_that_a_registry_shows_have_whole_addresses() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md"):
        targets = re.findall(r"\]\(([^)]+)\)", read(name))
        assert targets
        assert [each for each in targets if not each.startswith("https://")] == [], name


def test_the_model_that_is_shipped_is_small_licensed_and_predicts_as_its_page_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = ROOT / "examples/newport/bundle"
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000
    facts = file_info(folder)
    assert facts["licence"] == "MIT"
    assert "as described" in facts["weights"]
    (example,) = re.findall(r"^```py3\n(.*?)^```", read("docs/models.md"), re.M | re.S)
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(compile(example, "models.md", "exec"), names)
    leafy, built_up = names["predictions"].decile
    assert (leafy >= built_up).all()
    assert (leafy > built_up).any()
