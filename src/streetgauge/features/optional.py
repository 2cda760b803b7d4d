"""Libraries that may be here or not: their versions, and what is said if one does not import."""

from __future__ import annotations

from importlib import metadata

from streetgauge.errors import InputError

__all__ = ["does_not_import", "version_of"]


def does_not_import(subject: str, module: str, package: str, error: Exception) -> InputError:
    """Say what would mend it: the package itself, or the torchvision that it stands on.

    Parameters
    ----------
    subject : str
        What wanted it.
    module, package : str
        What was imported, and the distribution that has it.
    error : Exception
        What importing it raised; a torchvision built for another torch raises RuntimeError.
    """
    absent = isinstance(error, ModuleNotFoundError) and error.name == module
    step = (
        f"pip install {package}"
        if absent
        else f"{package} is there: install the torchvision that was built for this torch"
    )
    reason = f"{module} does not import here: {str(error).partition(chr(10))[0]}"
    return InputError(subject, reason, step)


def version_of(package: str) -> str | None:
    """Give the version of a distribution; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
