"""What all settings share: their base, and the kinds of values they take."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

__all__ = ["Device", "Direction", "HubAddress", "Name", "Positive", "Settings", "Share", "Text"]

Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], Field(description="where it runs; auto takes a GPU")
]
Direction = Literal["higher-is-better", "higher-is-worse"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]
# Names become columns, file names and keys: keep them plain.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
# A study says which version of a bundle it means.
HubAddress = Annotated[str, StringConstraints(pattern=r"^hf://[\w.-]+/[\w.-]+@[\w./-]+$")]
Positive = Annotated[float, Strict(), Field(gt=0)]
Share = Annotated[float, Strict(), Field(gt=0, lt=1)]


class Settings(BaseModel):
    """Base of all settings: frozen, and a key that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
