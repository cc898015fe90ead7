"""The method of a run with its settings, flat in files: ``method: {name: dmg, overlap_weight: 0.1}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter


@dataclass(frozen=True, eq=False)
class MethodChoice:
    """The name of a method, and its settings: as given, and once validated as the method's ``Settings`` object.

    - ``given``: the settings that were set explicitly, without the method's defaults
    - ``settings``: complete, an instance of the method's ``Settings``; None until
      :func:`domain_masks.methods.settings.with_settings` has validated them
    """

    name: str
    given: Mapping[str, Any] = field(default_factory=dict)
    settings: Any = None

    @classmethod
    def read(cls, value: Any) -> MethodChoice:
        """Return the choice of a name, or of a mapping with a name; raises ValueError for anything else."""
        if isinstance(value, MethodChoice):
            return value
        named = {"name": value} if isinstance(value, str) else value
        if not isinstance(named, Mapping) or not isinstance(named.get("name"), str):
            raise ValueError("expected the name of a method, as in `method: {name: dmg, overlap_weight: 0.1}`")
        return cls(named["name"], {name: setting for name, setting in named.items() if name != "name"})

    def to_dict(self) -> dict[str, Any]:
        """Return name and settings as plain values: all settings where they are validated, else the given ones."""
        kind = dict[str, Any] if self.settings is None else type(self.settings)
        values = dict(self.given) if self.settings is None else self.settings
        return {"name": self.name, **TypeAdapter(kind).dump_python(values, mode="json")}

    def get(self, name: str, default: Any = None) -> Any:
        """Return a setting; ``default`` where the method has none of that name, or it was neither given nor validated."""
        return self.given.get(name, default) if self.settings is None else getattr(self.settings, name, default)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MethodChoice) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[type[MethodChoice], tuple[str, dict[str, Any]]]:
        # Another process could not unpickle the settings object before it has imported the method's plugin.
        values = self.to_dict()
        return MethodChoice, (values.pop("name"), values)
