"""The command line: parse, call, print.

Verbs are in the order in which their modules are imported; what they need is imported when they
are called, so that ``--help`` is there at once.
"""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from pathlib import Path

# The order of the verbs.
# isort: off
from streetgauge.cli import stages
from streetgauge.cli import models
from streetgauge.cli import analysis

# isort: on
from streetgauge.cli.app import Screen, app, replace_unknown_signs
from streetgauge.cli.signals import EndingBySignal
from streetgauge.errors import InputError, Stopped, StreetgaugeError, missing_torch

__all__ = ["analysis", "app", "main", "models", "stages"]

# Under which heading of the help a verb stands; those that are not named are analyses.
PANELS = {
    "Getting started": ("demo", "init", "check", "run"),
    "Stages of a study": (
        *("outcomes", "locations", "images", "features", "train", "areas", "concepts", "report"),
    ),
    "Results": ("info", "map", "view"),
    "Models": ("predict", "export", "import-weights"),
}
for command in app.registered_commands:
    verb = command.name or getattr(command.callback, "__name__", "")
    titles = (title for title, verbs in PANELS.items() if verb in verbs)
    command.rich_help_panel = next(titles, "Analyses")

LOWER = (
    "lower 'train.memory', 'train.ensemble_size' or 'features.batch', or use a machine with more"
)


def main() -> None:
    """Run the command line; errors that a user can fix are one sentence and exit code 2."""
    machine = "--json" in sys.argv
    replace_unknown_signs()
    try:
        _require_utf8(sys.argv[1:])
        with EndingBySignal():
            app()
    except Stopped as stopped:
        Screen(machine=machine).error(stopped.sentence)
        raise
    except StreetgaugeError as error:
        Screen(machine=machine).error(str(error))
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        Screen(machine=machine).error(str(missing_torch()))
        raise SystemExit(2) from None
    except MemoryError as error:  # wherever; training and predicting have sentences of their own
        Screen(machine=machine).error(str(_too_little_memory(error)))
        raise SystemExit(2) from None
    except OSError as error:
        if error.errno == errno.ENOMEM:
            Screen(machine=machine).error(str(_too_little_memory(error)))
            raise SystemExit(2) from None
        subject = error.filename or "the system"
        reason = error.strerror or str(error)
        Screen(machine=machine).error(f"{subject}: {reason[0].lower() + reason[1:]}.")
        # What the user can fix is bad input; a full disk or a broken one is not.
        fixable = (PermissionError, IsADirectoryError, NotADirectoryError, FileNotFoundError)
        named = isinstance(error, (*fixable, FileExistsError))
        raise SystemExit(2 if named or error.errno == errno.ENAMETOOLONG else 1) from None


def _too_little_memory(error: Exception) -> InputError:
    message = " ".join(str(error).split())
    found = f"it does not suffice ({message})" if message else "it does not suffice"
    return InputError("memory", found, LOWER)


def _require_utf8(words: list[str]) -> None:
    """Refuse names that no table, page or library can hold, before any long work."""
    with suppress(FileNotFoundError):  # the folder that one is in may have been removed
        words = [*words, str(Path.cwd())]
    for word in words:
        if any("\udc80" <= sign <= "\udcff" for sign in word):
            raise InputError(word, "this name has bytes that are not UTF-8", "give it another name")
