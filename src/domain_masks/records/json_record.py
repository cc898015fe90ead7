"""A record of a run that is one JSON object: checked when it is made, written and read whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records.checks import Check, keys
from domain_masks.records.files import check_schema, read_json, write_json


class JSONRecord:
    """Base of dataclasses whose fields are the keys of a JSON file, and ``more`` whatever else it holds.

    - ``newest``: the schema that is written; older ones are read, and are of this one from then on, see :meth:`upgraded`
    - ``checks``: key -> what it may be, in the order in which they are written; ``optional`` are the keys that may be absent,
      which are None here
    - ``called``: what the content is not, if a check fails, such as "no results of a run"
    - ``written_by``: the command that writes it anew

    Raises InputError that lists everything that is not as it should be, or a schema that is newer.
    """

    newest: ClassVar[int]
    checks: ClassVar[Mapping[str, Check]]
    optional: ClassVar[tuple[str, ...]]
    called: ClassVar[str]
    written_by: ClassVar[str]
    more: Mapping[str, Any]

    def __post_init__(self) -> None:
        self._check(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, keys in their written order, without those that are None."""
        content = {name: getattr(self, name) for name in self.checks}
        known = {name: value for name, value in content.items() if value is not None}
        return known | {name: value for name, value in self.more.items() if name not in known}

    @classmethod
    def upgraded(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of an older schema as that of the newest; nothing has checked it yet."""
        return dict(content)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Build the record from a JSON object; raises InputError if keys are missing or wrong, or the schema is newer."""
        schema = content.get("schema")
        if isinstance(schema, int) and not isinstance(schema, bool) and 1 <= schema < cls.newest:
            content = {**cls.upgraded(content), "schema": cls.newest}
        cls._check(content)
        values: dict[str, Any] = {name: value for name, value in content.items() if name in cls.checks}
        values["more"] = {name: value for name, value in content.items() if name not in cls.checks}
        return cls(**values)

    def write(self, path: Path | str) -> None:
        """Write the JSON file, whole or not at all."""
        write_json(path, self.to_dict())

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a JSON file; raises RunFolderError that names it if it is missing, malformed or of a newer schema."""
        content = read_json(path)
        check_schema(content.get("schema"), cls.newest, path, f"write it again with `{cls.written_by}`")
        try:
            return cls.from_dict(content)
        except InputError as error:
            raise RunFolderError(f"{path} cannot be used: {error}. Write it again with `{cls.written_by}`") from error

    @classmethod
    def _check(cls, content: Mapping[str, Any]) -> None:
        schema = content.get("schema")
        if isinstance(schema, int) and schema > cls.newest:
            raise InputError(
                f"written by a newer version of domain-masks: expected schema {cls.newest} or older, got {schema}. Update "
                "domain-masks"
            )
        problems = list(keys(cls.checks, cls.optional)(content, ""))
        if problems:
            raise InputError(f"{cls.called}:\n- " + "\n- ".join(problems))
