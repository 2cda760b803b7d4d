"""What all settings share: their base, and the kinds of values they take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    StringConstraints,
)
from pydantic_core import CoreSchema, core_schema

from streetgauge.io.remote import is_url, require_url

__all__ = ["Device", "Direction", "HubAddress", "Name", "PathOrUrl", "Positive", "Settings"]
__all__ += ["Share", "Text", "Url", "default_source"]

Device = Annotated[
    Literal["auto", "cpu", "cuda", "mps"], Field(description="where it runs; auto takes a GPU")
]
Direction = Literal["higher-is-better", "higher-is-worse"]
Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]
# Names become columns, file names and keys: plain ones only.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
# A study names the version of a bundle.
HubAddress = Annotated[str, StringConstraints(pattern=r"^hf://[\w.-]+/[\w.-]+@[\w./-]+$")]
Positive = Annotated[float, Strict(), Field(gt=0)]
Share = Annotated[float, Strict(), Field(gt=0, lt=1)]


class Url(str):
    """The address of remote files; stays as it is written where paths become absolute."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": "uri"}


def _url_or_text(value: object) -> object:
    if not isinstance(value, str) or not is_url(value):
        return value
    require_url(value)
    return Url(value)


# Url first: pydantic would make a path of any text.
PathOrUrl = Annotated[
    Annotated[Url | Path, Field(union_mode="left_to_right")], BeforeValidator(_url_or_text)
]


def default_source(source: str) -> BeforeValidator:
    """Make a table without a ``source`` one of this source."""

    def add_source(value: object) -> object:
        return {"source": source, **value} if isinstance(value, dict) else value

    return BeforeValidator(add_source)


class Settings(BaseModel):
    """Base of all settings: frozen, and a key that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
