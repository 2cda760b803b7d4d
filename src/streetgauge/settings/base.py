"""What all settings share: their base, and the kinds of values they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    Strict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import (
    CoreSchema,
    ErrorDetails,
    InitErrorDetails,
    PydanticCustomError,
    core_schema,
)

from streetgauge.io.remote import is_url, require_url

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


def broken_rule(detail: ErrorDetails) -> tuple[str, str]:
    """Give the reason and the next step of an error that pydantic or a validator of ours raised."""
    if detail["type"] == "value_error":  # one of ours, which names the next step itself
        reason, _, step = str(detail.get("ctx", {}).get("error", detail["msg"])).partition("; ")
        return reason, step
    what, should, rule = detail["msg"].partition(" should ")
    reason = f"{detail['input']!r} is not allowed"
    return reason, f"it should {rule}" if should else what[:1].lower() + what[1:]


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


_Rule = TypeVar("_Rule", bound=Callable[[Any], Iterator[str]])


def rule(method: _Rule) -> _Rule:
    """Mark a method that yields a reason for every way in which it finds settings broken."""
    method.__dict__["is_rule"] = True
    return method


def _initial(detail: ErrorDetails) -> InitErrorDetails:
    """Give an error as pydantic takes it; by name it knows only some of its own, so as custom."""
    kind = PydanticCustomError(detail["type"], detail["msg"], detail.get("ctx"))
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"])


class Settings(BaseModel):
    """Base of all settings: frozen, and a key that is not known is refused.

    What is wrong is reported at once: keys that are wrong in themselves, and each `rule` that is
    broken between keys that are right.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def _prepare(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Fill in keys that depend on other keys, before any is validated."""
        return given

    @model_validator(mode="wrap")
    @classmethod
    def _report_all(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        given = cls._prepare(given) if isinstance(given, dict) else given
        wrong: list[InitErrorDetails] = []
        try:
            settings = handler(given)
        except ValidationError as error:
            if not isinstance(given, dict):
                raise
            wrong = [_initial(detail) for detail in error.errors()]
            settings = cls._of_right_keys(given, {detail["loc"][0] for detail in wrong})
        for reason in settings._broken_rules(partly=bool(wrong)):
            wrong.append(
                InitErrorDetails(type="value_error", input=given, ctx={"error": ValueError(reason)})
            )
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return settings

    @classmethod
    def _of_right_keys(cls, given: dict[str, Any], wrong: set[int | str]) -> Self:
        """Make settings in which keys that are wrong or missing are no attributes."""
        right: dict[str, Any] = {}
        absent: list[str] = []
        for name, info in cls.model_fields.items():
            key = info.alias or name
            if key in wrong:
                absent.append(name)
            elif key in given:
                kind: Any = getitem(Annotated, (info.annotation, info))  # with its validators
                right[name] = TypeAdapter(kind).validate_python(given[key])
        settings = cast("Self", cls.model_construct(**right))
        for name in absent:
            settings.__dict__.pop(name, None)
        return settings

    def _broken_rules(self, partly: bool) -> Iterator[str]:
        for kind in reversed(type(self).__mro__):
            for method in vars(kind).values():
                if getattr(method, "is_rule", False):
                    try:
                        yield from method(self)
                    except AttributeError:  # it reads a key that is wrong in itself
                        if not partly:
                            raise
