"""Bundles on the Hugging Face Hub: fetched by address, published by name.

Only a bundle's own three files go up or down, and nothing that was fetched is run. The token is
that of the environment variable ``HF_TOKEN`` and no other.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from streetgauge.errors import InputError, summary
from streetgauge.io.hub import import_hub
from streetgauge.model.bundle import FILES, Bundle

_ADDRESS = re.compile(r"hf://(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class Address:
    """Where a bundle is: ``hf://user/name`` or ``hf://user/name@revision``.

    Parameters
    ----------
    repository : str
        ``user/name``.
    revision : str
        A branch, a tag or, so that it never changes, a commit.
    """

    repository: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises
        ------
        InputError
            If it is none.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise InputError(
                text, "this is not an address of a bundle", "write hf://user/name@revision"
            )
        return cls(found["repository"], found["revision"] or "main")

    def __str__(self) -> str:
        return f"hf://{self.repository}@{self.revision}"


def from_hub(address: str, *, cache: Path | None = None) -> Path:
    """Fetch a bundle, or find it where it was fetched before.

    Parameters
    ----------
    address : str
        ``hf://user/name@revision``; ``main`` if no revision is given.
    cache : Path, optional
        Where it is stored; the Hub's usual folder if not given.

    Returns
    -------
    Path
        The bundle's directory. Its name is the commit that the revision stood for.

    Raises
    ------
    InputError
        If the address is none, cannot be reached, or huggingface_hub is not installed.
    """
    wanted = Address.parse(address)
    hub = _hub(address)
    try:
        folder = hub.snapshot_download(
            wanted.repository,
            revision=wanted.revision,
            cache_dir=cache,
            allow_patterns=list(FILES),
            token=os.environ.get("HF_TOKEN") or False,  # False: nor one that lies about on disk
        )
    except _errors(hub) as error:
        raise _failed(address, error, "check the address, the network and HF_TOKEN") from None
    return Path(folder)


def push(directory: Path, repository: str, *, public: bool = False) -> str:
    """Publish a bundle.

    Parameters
    ----------
    directory : Path
        The bundle; it must be whole.
    repository : str
        ``user/name``; made if it is not there.
    public : bool
        Whether a repository that is made now can be read by everyone.

    Returns
    -------
    str
        Address of exactly this version: ``hf://user/name@commit``.

    Raises
    ------
    InputError
        If the bundle cannot be opened, ``HF_TOKEN`` is not set, or the Hub refuses.
    """
    hub, token = require_push(repository)
    Bundle.load(directory)
    try:
        api = hub.HfApi(token=token)
        api.create_repo(repository, repo_type="model", private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            repo_type="model",
            folder_path=directory,
            allow_patterns=list(FILES),
            commit_message="Write a streetgauge bundle",
        )
    except _errors(hub) as error:
        raise _failed(repository, error, "check the name, the network and HF_TOKEN") from None
    return str(Address(repository, commit.oid))


def require_push(repository: str) -> tuple[Any, str]:
    """See that a bundle could be published, before there is one.

    Parameters
    ----------
    repository : str
        ``user/name``.

    Returns
    -------
    module, str
        huggingface_hub, and the token.

    Raises
    ------
    InputError
        If that is no name, huggingface_hub is not installed or ``HF_TOKEN`` is not set.
    """
    Address.parse(f"hf://{repository}")
    hub = _hub(repository)
    token = os.environ.get("HF_TOKEN")
    if not token:
        raise InputError(
            "HF_TOKEN", "this environment variable is not set", "set it to a token that may write"
        )
    return hub, token


def _hub(subject: str) -> Any:
    try:
        return import_hub()
    except ImportError:
        raise InputError(
            subject, "this needs huggingface_hub 2 or later", "pip install 'streetgauge[hub]'"
        ) from None


def _errors(hub: Any) -> tuple[type[Exception], ...]:
    """List what may go wrong on the way; older versions know only OSErrors for the network."""
    names = ("HTTPError", "XetDownloadError", "RevisionResolutionError")
    known = [getattr(hub.errors, name) for name in names if hasattr(hub.errors, name)]
    return (OSError, ValueError, *known)


def _failed(subject: str, error: Exception, step: str) -> Exception:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
        return error  # of this machine, not of the Hub
    # Errors of a connection are of several libraries, with the version of huggingface_hub.
    names = {kind.__name__ for kind in type(error).__mro__}
    if "LocalEntryNotFoundError" in names:
        return InputError(subject, "cannot reach the Hub, and no copy is cached here", step)
    if names & {"ConnectionError", "TransportError", "Timeout"}:
        return InputError(subject, "cannot reach the Hub", step)
    reason = summary(error)
    return InputError(subject, f"the Hub refused ({reason})", step)
