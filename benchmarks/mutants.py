"""Change the program in one place, run its tests, and count the changes that no test notices.

    python benchmarks/mutants.py [--count 100] [--seed 0] [--only PACKAGE] [--jobs 2] [--list]

A mutant is a copy of the program with one small fault: a comparison turned round, a plus for a
minus, `and` for `or`, a number one higher, a condition negated, a call left undone. The seed draws
them evenly over all such places of all packages, so that a large package gets many. For each, the
tests are run that lie nearest, until one fails: first those of the module, then those of its
package, then every other test file that imports the module. A mutant whose tests run far too long
counts as killed: a test noticed it.

Prints a line for each mutant and a table for each package. A survivor is either a fact that no
test states, or a change that makes no difference; which of the two, only a reader can tell. Ends
with 1 if any survived. 100 mutants take about an hour on two cores.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src/streetgauge")
SECONDS = 900.0  # of one mutant's tests; the slowest file takes about 60

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
}  # fmt: skip
UNSEEN = ("log", "logger", "logging", "warnings")  # calls whose loss no result shows


@dataclass(frozen=True)
class Mutant:
    """One change: which file, which characters, and what stands there instead."""

    path: Path
    line: int
    start: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        """Give the source with the change."""
        return source[: self.start] + self.text + source[self.end :]

    def describe(self, source: str) -> str:
        """Name the place and the change in a line."""
        old = " ".join(source[self.start : self.end].split())
        new = " ".join(self.text.split())
        return f"{self.path.relative_to(PACKAGE)}:{self.line}  {old[:60]}  ->  {new[:60]}"


def mutants_of(path: Path) -> list[Mutant]:
    """Give every change of a module that this program knows how to make."""
    source = (ROOT / path).read_text()
    begins = [0]
    for line in source.splitlines(keepends=True):
        begins.append(begins[-1] + len(line.encode()))
    data = source.encode()

    def place(node: ast.expr | ast.stmt) -> tuple[int, int]:
        ends = begins[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        start = begins[node.lineno - 1] + node.col_offset
        return len(data[:start].decode()), len(data[:ends].decode())

    found = []
    for node, changed in _changes(ast.parse(source)):
        start, end = place(node)
        text = "pass" if isinstance(changed, ast.Pass) else f"({ast.unparse(changed)})"
        found.append(Mutant(path, node.lineno, start, end, text))
    return found


def _changes(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST]]:
    """Go through a module's code, not its annotations, decorators or strings."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        yield from _change(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases", "keywords_only"):
                continue
            if isinstance(node, ast.JoinedStr | ast.FormattedValue):
                continue
            values = value if isinstance(value, list) else [value]
            todo.extend(each for each in values if isinstance(each, ast.AST))


def _change(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST]]:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield node, _with(node, ops=[COMPARISONS[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        if not any(_text(each) for each in (node.left, node.right)):
            yield node, _with(node, op=ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield node, _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
        value = node.value
        yield node, ast.Constant(not value if isinstance(value, bool) else value + 1)
    elif isinstance(node, ast.IfExp):
        yield node, _with(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
        yield node.test, ast.UnaryOp(ast.Not(), node.test)
    elif (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).split(".")[0] not in UNSEEN
    ):
        yield node, ast.Pass()


def _text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def tests_near(path: Path) -> list[list[Path]]:
    """Give the test files of a module, nearest first, each file once."""
    inside = path.relative_to(PACKAGE).with_suffix("")
    every = sorted(each.relative_to(ROOT) for each in (ROOT / "tests").rglob("test_*.py"))
    every = [each for each in every if "benchmarks" not in each.parts]
    dotted = ".".join(("streetgauge", *inside.parts))
    names = re.compile(
        rf"\b{re.escape(dotted)}\b|\bfrom {re.escape(dotted.rpartition('.')[0])} import "
    )
    package = Path("tests", inside.parts[0])
    own = [each for each in every if each.stem.startswith(f"test_{inside.name}")]
    same = [each for each in every if each.is_relative_to(package)]
    using = [each for each in every if names.search((ROOT / each).read_text())]
    groups, seen = [], set[Path]()
    for group in ([each for each in own if each in {*same, *using}], using, same):
        groups.append([each for each in group if each not in seen])
        seen.update(group)
    return [each for each in groups if each]


def killed(mutant: Mutant, tree: Path) -> str:
    """Run a mutant's tests in a copy of the tree: which group of files noticed, or nothing."""
    target = tree / mutant.path
    source = target.read_text()
    until = time.monotonic() + SECONDS
    for number, files in enumerate(tests_near(mutant.path)):
        target.write_text(mutant.apply(source))
        try:
            failed = failing(tree, [str(each) for each in files], until)
        except subprocess.TimeoutExpired:
            return "time"
        finally:
            target.write_text(source)
        if failed and failing(tree, [failed], time.monotonic() + SECONDS):
            sys.exit(f"{failed} fails without a mutant too: the tests must pass first")
        if failed:
            return ("module", "users", "package")[number]
    return ""


def failing(tree: Path, tests: list[str], until: float) -> str:
    """Run tests until one fails, and give its name, or nothing."""
    command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "--tb=no", "-rfE"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *tests],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=max(until - time.monotonic(), 1),
    )
    if done.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return found[1] if found else tests[0]  # a conftest that cannot be imported names no test


def copies(folder: Path, count: int) -> SimpleQueue[Path]:
    """Copy what the tests need as often as mutants are tried at once."""
    free: SimpleQueue[Path] = SimpleQueue()
    for number in range(count):
        tree = folder / str(number) / "main"
        ignored = shutil.ignore_patterns(
            ".git", ".venv", "__pycache__", "streetgauge-demo", "_build"
        )
        shutil.copytree(ROOT, tree, ignore=ignored)
        if (shared := ROOT.parent / "shared").exists():
            (tree.parent / "shared").symlink_to(shared)
        free.put(tree)
    return free


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="a package, e.g. splits")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="draw the mutants, run nothing")
    given = parser.parse_args()
    paths = sorted(each.relative_to(ROOT) for each in (ROOT / PACKAGE / given.only).rglob("*.py"))
    every = [mutant for path in paths for mutant in mutants_of(path)]
    drawn = random.Random(given.seed).sample(every, min(given.count, len(every)))
    sources = {path: (ROOT / path).read_text() for path in {each.path for each in drawn}}
    print(f"{len(drawn)} of {len(every):,} possible mutants, seed {given.seed}", flush=True)
    if given.list:
        for mutant in drawn:
            print(mutant.describe(sources[mutant.path]))
        return 0
    alive, tried = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.jobs) as threads:
        free = copies(Path(folder), given.jobs)

        def attempt(mutant: Mutant) -> tuple[Mutant, str]:
            tree = free.get()
            try:
                return mutant, killed(mutant, tree)
            finally:
                free.put(tree)

        for mutant, by in threads.map(attempt, drawn):
            package = mutant.path.relative_to(PACKAGE).parts[0]
            tried[package] += 1
            alive[package] += not by
            state = f"killed ({by})" if by else "SURVIVED"
            print(f"{state:18} {mutant.describe(sources[mutant.path])}", flush=True)
    print(f"\n{'package':14} {'mutants':>8} {'killed':>8}")
    for package in sorted(tried):
        print(f"{package:14} {tried[package]:>8} {tried[package] - alive[package]:>8}")
    total, survived = tried.total(), alive.total()
    print(f"{'all':14} {total:>8} {total - survived:>8}  {1 - survived / total:.0%}")
    return int(survived > 0)


if __name__ == "__main__":
    sys.exit(main())
