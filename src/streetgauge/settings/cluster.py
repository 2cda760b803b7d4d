"""``[features.cluster]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, Strict, field_validator

from streetgauge.settings.base import Settings, Text

__all__ = ["Cluster", "ClusterSettings"]

_Count = Annotated[int, Strict(), Field(ge=1)]


class ClusterSettings(Settings):
    """``[features.cluster]``: a Ray cluster computes the features, not this machine alone."""

    address: Text = Field(
        "auto",
        description="the cluster's head as host:port; auto is the cluster that this machine is in, "
        "local a cluster of this machine alone",
    )
    actors: _Count | None = Field(
        None,
        description="copies of the network; if unset one a GPU, without GPUs one a machine, which "
        "then uses all its cores",
    )
    decoders: _Count | None = Field(
        None,
        description="cores that decode images; if unset all where there are GPUs, else a quarter",
    )

    @field_validator("address")
    @classmethod
    def _can_be_connected_to(cls, address: str) -> str:
        host, _, port = address.rpartition(":")
        if address.startswith("ray://"):
            raise ValueError(
                f"{address!r} is an address of Ray Client, over which Ray Data does not work: "
                "run streetgauge on a machine of the cluster, with address = 'auto'"
            )
        if address not in ("auto", "local") and not (host and port.isdecimal()):
            raise ValueError(f"{address!r} is no address: write host:port, 'auto' or 'local'")
        return address


def _by_name(value: object) -> object:
    if isinstance(value, str) and value != "ray":
        raise ValueError(f"{value!r} is not possible: write cluster = 'ray', or [features.cluster]")
    return {} if value == "ray" else value


# cluster = "ray" says all of it where nothing else has to be said.
Cluster = Annotated[ClusterSettings | None, BeforeValidator(_by_name)]
