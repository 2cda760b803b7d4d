"""The house stands as the linter's contract describes it, also where the linter does not look."""

from __future__ import annotations

import ast
from pathlib import Path

import streetgauge

ROOT = Path(streetgauge.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if not path.name.startswith("__"))


def imports(path: Path) -> list[tuple[str, str]]:
    """Give (module, name) of everything that a module imports from the package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return [(node.module or "", alias.name) for node in found for alias in node.names]


def test_no_module_imports_a_public_name_of_its_own_package() -> None:
    # The package's __init__ may import the module: that is a circle which no linter sees.
    found = {}
    for path in MODULES:
        package = ".".join(("streetgauge", *path.relative_to(ROOT).parts[:-1]))
        inside = {each.stem for each in path.parent.iterdir()}
        own = [name for module, name in imports(path) if module == package and name not in inside]
        if own:
            found[str(path.relative_to(ROOT))] = own
    assert found == {}
