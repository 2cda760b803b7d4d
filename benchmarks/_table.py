"""Rows of the table that `make bench` makes of all benchmarks."""

from __future__ import annotations

import argparse

__all__ = ["ROW", "add_short", "row"]

ROW = "| row | "


def add_short(parser: argparse.ArgumentParser, **values: object) -> None:
    """Add ``--short``, which sets other defaults, for `make bench`."""

    class Short(argparse.Action):
        def __call__(self, _: object, given: argparse.Namespace, *rest: object) -> None:
            given.short = True
            for name, value in values.items():
                setattr(given, name, value)

    shown = ", ".join(f"{name} {value}" for name, value in values.items())
    parser.add_argument("--short", action=Short, nargs=0, default=False, help=shown or None)


def row(what: str, ratio: str, against: str, figure: str) -> None:
    """Print a row: what was measured, the ratio, to what, and the figure itself."""
    print(f"{ROW}{what} | {ratio} | {against} | {figure} |", flush=True)
