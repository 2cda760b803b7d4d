"""What is made of a network once for a machine: compiled models, and how its engines compare.

Making it takes many times as long as loading it, so that is in the user's cache. Each file begins
with the sha256 of its content: OpenVINO's own cache takes a model with a changed weight for whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from streetgauge.features.backbones import Backbone
from streetgauge.io.files import atomic_path, digest

# Raised with any change of this package that changes a number: what is cached is then not it.
_RULE = 2
# What a network depends on besides its record: what converts, rounds and computes it, and what
# makes the images that it is measured on.
_PACKAGES = (
    *("streetgauge", "openvino", "nncf", "torch", "timm", "open_clip_torch"),
    *("numpy", "pillow", "scikit-learn", "matplotlib"),
)
# What the record has for people, and where the weights were found: their sha256 identifies them.
_WORDS = ("weights", "licence", "about")
_SHA256 = hashlib.sha256().digest_size


def compiled(
    openvino: Any,
    backbone: Backbone,
    make: Callable[[], Any],
    wanted: dict[str, Any],
    cache: Path | None = None,
    slice: int | None = None,
) -> Any:
    """Compile a model for this machine's processor, or load it from the cache.

    Parameters
    ----------
    openvino : module
        OpenVINO.
    backbone : Backbone
        The network, with the whole sha256 of its weights if it is to be cached.
    make : callable
        Gives the model.
    wanted : dict
        What it is compiled for: precision, streams, threads.
    cache : Path, optional
        Folder of compiled models; what is damaged there is made again, and if nothing can be
        written there nothing is.
    slice : int, optional
        As `OpenvinoEngine` was given it.

    Returns
    -------
    openvino.CompiledModel
        It gives the same bits whether or not it was cached.
    """
    core = openvino.Core()
    if cache is None:
        return core.compile_model(make(), "CPU", wanted)
    file = cache_file(cache, backbone, [slice, wanted, processor_of(core)], ".blob")
    content = read_cached(file)
    if content is not None:
        with suppress(RuntimeError):  # OpenVINO cannot read it: it is made anew
            return core.import_model(content, "CPU", wanted)
    model = core.compile_model(make(), "CPU", wanted)
    write_cached(file, model.export_model().getvalue())
    return model


def processor_of(core: Any) -> list[str]:
    """Name a processor and what it can do, for which OpenVINO compiles."""
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return [core.get_property("CPU", "FULL_DEVICE_NAME"), *sorted(capabilities)]


def version_of(package: str) -> str | None:
    """Give the version of a distribution; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cache_file(folder: Path, backbone: Backbone, how: list[Any], suffix: str) -> Path:
    """Name the file of what is made of a network, in a way that anything JSON can write states."""
    record = {name: value for name, value in asdict(backbone).items() if name not in _WORDS}
    packages = {name: version_of(name) for name in _PACKAGES}
    key = digest([_RULE, record, packages, how])[:16]
    return folder / f"{backbone.name.replace(':', '-').replace('/', '-')}-{key}{suffix}"


def read_cached(file: Path) -> bytes | None:
    """Read what was cached; None if there is nothing, or it is not what was written."""
    try:
        content = memoryview(file.read_bytes())
    except OSError:
        return None
    own, rest = content[:_SHA256], content[_SHA256:]
    return bytes(rest) if hashlib.sha256(rest).digest() == own else None


def write_cached(file: Path, content: bytes) -> None:
    """Cache it, whole or not at all, whoever else is writing the same."""
    with (
        suppress(OSError),  # e.g. the disk is full
        atomic_path(file) as temporary,
        temporary.open("wb") as handle,
    ):
        handle.write(hashlib.sha256(content).digest())
        handle.write(content)
