"""The machines of a Ray cluster: what they have, whether they are fit, and what they fail of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from streetgauge.errors import InputError
from streetgauge.features.optional import version_of

__all__ = ["Failure", "NodeError", "Nodes", "refusal", "refuse_unfit", "run_on"]

log = logging.getLogger(__name__)

# Seconds that a machine may take to start a first process and answer.
ANSWER = 120
# What must be of one version everywhere: each of them takes part in making features.
_ALIKE = ("streetgauge", "torch", "numpy", "pillow", "openvino", "nncf")


class NodeError(Exception):
    """What a user has to mend on one machine: where, subject, reason, next step."""

    @classmethod
    def here(cls, subject: object, reason: str, next_step: str = "") -> Self:
        """Name the machine that this runs on."""
        import platform

        return cls(platform.node(), str(subject), reason, next_step)

    def as_input_error(self) -> InputError:
        """Say it in one sentence."""
        where, subject, reason, next_step = self.args
        return InputError(f"machine {where}: {subject}", reason, next_step)


@dataclass(frozen=True)
class Nodes:
    """The machines that are there now.

    Parameters
    ----------
    ray : module
        Connected.
    cores : dict of str to int
        By Ray's id of the machine; machines that offer none are not there.
    gpus : int
        Of all machines, as far as they are to be used.
    device : str
        What networks run on: "cuda" or "cpu".
    token : Path
        A file in the folder that all must share.
    """

    ray: Any
    cores: dict[str, int]
    gpus: int
    device: str
    token: Path

    @classmethod
    def of(cls, ray: Any, device: str, token: Path) -> Self:
        """Look at a cluster; ``device`` is a study's."""
        alive = [node for node in ray.nodes() if node["Alive"]]
        cores = {
            node["NodeID"]: int(node["Resources"]["CPU"])
            for node in alive
            if node["Resources"].get("CPU", 0) >= 1
        }
        gpus = 0
        if device in ("auto", "cuda"):
            gpus = int(sum(node["Resources"].get("GPU", 0) for node in alive))
        if not cores:
            raise InputError("the cluster", "no machine of it offers a core", "add a machine")
        if device == "mps" or (device == "cuda" and not gpus):
            raise InputError(
                f"device {device!r}", "no machine of the cluster has it", 'use device = "auto"'
            )
        return cls(ray, cores, gpus, "cuda" if gpus else "cpu", token)

    @property
    def actors(self) -> int:
        """How many networks: one a GPU, or one a machine, which uses all its cores."""
        return self.gpus or len(self.cores)

    @property
    def decoders(self) -> int:
        """How many cores decode: all, or a quarter of those that networks need as well."""
        total = sum(self.cores.values())
        return total if self.gpus else max(len(self.cores), total // 4)


@dataclass(frozen=True)
class Failure:
    """Why a round ended early, and whether there is any use in another one."""

    error: InputError
    is_final: bool


def run_on(nodes: Nodes, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function on one worker that has what a network needs."""
    ray = nodes.ray
    remote = ray.remote(num_cpus=0, num_gpus=1 if nodes.gpus else 0, max_retries=2)(function)
    try:
        return ray.get(remote.remote(*arguments))
    except ray.exceptions.RayError as error:
        raise refusal(error, "the network").error from None


def refuse_unfit(ray: Any, token: Path, picture: str) -> None:
    """Refuse a cluster of which a machine lacks what it needs, naming the machine.

    Parameters
    ----------
    ray : module
        Connected.
    token : Path
        A file in the folder that all must share.
    picture : str
        One of the pictures.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look(token: str, picture: str, packages: tuple[str, ...]) -> dict[str, Any]:
        # Sent as it is, so that it also runs where this package is not installed.
        import os
        import platform
        from importlib import metadata
        from pathlib import Path

        def version(package: str) -> str | None:
            try:
                return metadata.version(package)
            except metadata.PackageNotFoundError:
                return None

        return {
            "host": platform.node(),
            "machine": platform.machine(),
            "shared": Path(token).exists(),
            "writable": os.access(Path(token).parent, os.W_OK),
            "sees": "://" in picture or os.access(picture, os.R_OK),
            "versions": {package: version(package) for package in packages},
        }

    asked = []
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            remote = ray.remote(num_cpus=0, max_retries=1, scheduling_strategy=there)(look)
            asked.append((node, remote.remote(str(token), picture, _ALIKE)))
    for node, answer in asked:
        name = f"machine {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        try:
            found = ray.get(answer, timeout=ANSWER)
        except (ray.exceptions.RayError, TimeoutError):
            log.warning("%s gives no answer; work goes on without it.", name)
            continue
        _refuse_machine(name, found, token.parent, picture)


def _refuse_machine(name: str, found: dict[str, Any], folder: Path, picture: str) -> None:
    ours = {package: version_of(package) for package in _ALIKE}
    for package, version in found["versions"].items():
        if version != ours[package]:
            raise InputError(
                f"{name}: {package}",
                f"its version is {version or 'missing'}, here it is {ours[package] or 'missing'}",
                "install the same versions on every machine",
            )
    if not (found["shared"] and found["writable"]):
        what = "it cannot write into this folder" if found["shared"] else "it sees no such folder"
        step = "share it at the same path on every machine"
        raise InputError(f"{name}: {folder}", what, step)
    if not found["sees"]:
        step = "share the pictures at the same path on every machine"
        raise InputError(f"{name}: {picture}", "it cannot read this picture", step)


def refusal(error: BaseException, subject: str) -> Failure:
    """Say in one sentence why a cluster failed."""
    names = set()
    for cause in _causes(error):
        if isinstance(cause, NodeError):
            return Failure(cause.as_input_error(), True)
        if isinstance(cause, InputError):
            return Failure(cause, True)
        if isinstance(cause, (KeyboardInterrupt, SystemExit)):
            raise cause
        names.add(type(cause).__name__)
        last = cause
    if "OutOfMemoryError" in names:
        reason, step = "a machine of the cluster ran out of memory", "use fewer decoders or actors"
    elif names & {"OutOfDiskError", "ObjectStoreFullError"}:
        reason = "a machine of the cluster has no room for pictures in its object store or on disk"
        step = "free disk space there, or `ray start` it with a larger --object-store-memory"
    elif "ExecutionTimeoutError" in names:
        reason, step = "nothing happened for a while", "look at the cluster with `ray status`"
    elif "RayDataUserCodeException" in names or "UserCodeException" in names:
        first = str(last).strip().splitlines() or [""]
        return Failure(InputError(subject, f"a worker failed: {first[-1]}"), True)
    else:
        first = str(last).strip().splitlines() or [""]
        reason, step = f"the cluster failed: {type(last).__name__} {first[0]}", "see `ray status`"
    return Failure(InputError(subject, reason, step), False)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error and all that it came from, as Ray keeps it."""
    seen: set[int] = set()
    queue = [error]
    while queue:
        one = queue.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        further = (one.__cause__, getattr(one, "cause", None), one.__context__)
        queue += [cause for cause in further if isinstance(cause, BaseException)]
