"""Store the results of stages; results that are stored are never written over: see README.md."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import golden


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configuration", choices=golden.CONFIGURATIONS)
    parser.add_argument("--stage", choices=golden.ALL)
    parser.add_argument(
        "--inputs",
        action="store_true",
        help="leave stored results as they are, and record newer inputs that give the same",
    )
    wanted = parser.parse_args()
    refused = 0
    for configuration, stage in golden.cases():
        if wanted.configuration not in (None, configuration):
            continue
        if wanted.stage not in (None, stage.name):
            continue
        is_there = golden.golden(configuration, stage.name, stage.version).exists()
        try:
            if is_there and wanted.inputs:
                print(f"inputs of {golden.renew_inputs(configuration, stage).name} renewed")
            elif wanted.stage or not is_there:
                stored = golden.write(configuration, stage)
                print(f"{stored.relative_to(golden.HERE)} ({stored.stat().st_size / 1e3:,.0f} kB)")
                print_changes(stored)
        except (FileExistsError, golden.ChangedError) as error:
            print(f"refused: {error}")
            refused += 1
    for file in golden.unused():
        print(f"nothing uses {file.relative_to(golden.HERE)} any more: delete it")
    return min(refused, 1)


def print_changes(stored: Path) -> None:
    """Print in what new results differ from those of the version before."""
    before = golden.older(stored)
    if before is not None:
        with golden.opened(before) as old, golden.opened(stored) as new:
            for found in golden.differences(old, new, golden.SAME):
                print(f"  against {before.name}: {found}")


if __name__ == "__main__":
    raise SystemExit(main())
