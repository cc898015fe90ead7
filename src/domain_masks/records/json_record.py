"""Records that are one JSON object: each declared once, as a model that reads, checks and writes it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic import ValidationInfo as Info
from pydantic_core import ErrorDetails, PydanticCustomError

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records.files import check_schema, read_json, write_json
from domain_masks.records.validation import describe

_FROM_FILE = "from file"
_MOST_LINES = 20


def _plain(value: Any) -> Any:
    """Return a NumPy scalar as a Python number."""
    numpy = sys.modules.get("numpy")
    return value.item() if numpy is not None and isinstance(value, numpy.generic) else value


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("expected text that is not empty")
    return text


Text = Annotated[str, AfterValidator(_not_empty)]
"""Accepts file names that are not UTF-8, which pydantic's own length limits refuse."""
Truth = Annotated[bool, BeforeValidator(_plain)]
Count = Annotated[int, BeforeValidator(_plain), Field(ge=0)]
Ordinal = Annotated[int, BeforeValidator(_plain), Field(ge=1)]
"""Counted from 1, such as an epoch."""
Number = Annotated[float, BeforeValidator(_plain)]
Fraction = Annotated[float, BeforeValidator(_plain), Field(ge=0, le=1)]
Seconds = Annotated[float, BeforeValidator(_plain), Field(ge=0)]


class RecordPart(BaseModel):
    """A JSON object within a record: values have the declared types, and keys that are not declared are kept.

    A field at its default, None or empty, has no key in the file; in a file no such key is null.
    """

    model_config = ConfigDict(
        strict=True, extra="allow", frozen=True, allow_inf_nan=False, validate_by_name=True, defer_build=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_null(cls, value: Any, info: Info) -> Any:
        if value is None and info.context == _FROM_FILE and cls.model_fields[str(info.field_name)].default is None:
            raise PydanticCustomError("null", "expected a value, or no such key where there is none")
        return value


class JSONRecord(RecordPart):
    """Base of records that are a whole file.

    - ``newest``: the schema that is written; older ones are read, and are of this one from then on, see :meth:`upgraded`
    - ``schema_key``: the key under which the file says its schema
    - ``called``: the beginning of the message for invalid content, such as "these are no results of a run"
    - ``remedy``: how to write the file again

    Raises pydantic's ValidationError for values that are not as declared.
    """

    newest: ClassVar[int]
    schema_key: ClassVar[str] = "schema"
    called: ClassVar[str]
    remedy: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, keys in their declared order, without absent fields."""
        return {self.schema_key: self.newest, **self.model_dump(by_alias=True, exclude_defaults=True)}

    @classmethod
    def upgraded(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of an older schema as that of the newest; it is not validated yet."""
        return dict(content)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Build the record from a JSON object.

        Raises InputError that lists everything that is missing or wrong, or for a newer schema.
        """
        schema = content.get(cls.schema_key)
        if type(schema) is not int or schema < 1:
            raise InputError(f"{cls.called}: expected {cls.schema_key} {cls.newest} or older, got {schema!r}")
        if schema > cls.newest:
            raise InputError(
                f"written by a newer version of domain-masks: expected {cls.schema_key} {cls.newest} or older, got "
                f"{schema}. Update domain-masks"
            )
        values = dict(content) if schema == cls.newest else cls.upgraded(content)
        del values[cls.schema_key]
        try:
            return cls.model_validate(values, context=_FROM_FILE)
        except ValidationError as error:
            lines = [_said(mistake) for mistake in error.errors()]
            more = [f"... ({len(lines) - _MOST_LINES} more)"] if len(lines) > _MOST_LINES else []
            raise InputError(f"{cls.called}:\n- " + "\n- ".join(lines[:_MOST_LINES] + more)) from error

    def write(self, path: Path | str) -> None:
        """Write the JSON file, whole or not at all."""
        write_json(path, self.to_dict())

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a JSON file; raises RunFolderError that names it if it is missing, malformed or of a newer schema."""
        content = read_json(path)
        check_schema(content.get(cls.schema_key), cls.newest, path, cls.remedy, cls.schema_key)
        try:
            return cls.from_dict(content)
        except InputError as error:
            remedy = cls.remedy[0].upper() + cls.remedy[1:]
            raise RunFolderError(f"{path} cannot be used: {error}. {remedy}") from error


def _said(mistake: ErrorDetails) -> str:
    """Return a line about an invalid value and its place."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in mistake["loc"]).lstrip(".")
    if mistake["type"] == "missing":
        return f"expected {place}, which is missing"
    return f"{place}{': ' if place else ''}{describe(mistake)}"
