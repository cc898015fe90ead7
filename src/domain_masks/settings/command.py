"""The base of every command's settings: one frozen model for flags, help and YAML, validated once with one message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from domain_masks.errors import combine_errors
from domain_masks.records.setting_types import flag_of
from domain_masks.records.validation import describe_mistakes

MODEL_HELP = "a run folder, model.safetensors, or a name on the Hub: hf:owner/name"
MODEL_MISSING = f"expected the model: {MODEL_HELP}"


class CommandSettings(BaseModel):
    """Base of the settings of one command.

    A subclass declares its fields with :func:`~domain_masks.records.setting_types.setting`. A field without a default has to be
    given, and has the message for a missing value in ``missing``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reads_run_config: ClassVar[bool] = False
    """Whether ``--config`` may be the YAML of a run, whose other settings are ignored."""

    def contradictions(self) -> Iterator[str]:
        """Yield a line for every contradiction between settings."""
        yield from ()


Command = TypeVar("Command", bound=CommandSettings)


def check_command(kind: type[Command], values: Mapping[str, Any], before: Iterable[str] = ()) -> Command:
    """Return the settings of a command from flags and YAML.

    - ``values``: by the settings' own names; an empty value of a required setting counts as missing
    - ``before``: earlier mistakes, which are reported together with these

    Raises InputError that lists every mistake.
    """
    settings, mistakes = validated(kind, values)
    mistakes = [*before, *mistakes]
    if settings is None or mistakes:
        raise combine_errors(mistakes)
    return settings


def validated(kind: type[Command], values: Mapping[str, Any]) -> tuple[Command | None, list[str]]:
    """Return the settings of a command, or None where a value is wrong, and a line per mistake."""
    absent = [name for name, field in kind.model_fields.items() if field.is_required() and not values.get(name)]
    missing = [flag_of(kind.model_fields[name]).missing for name in absent]
    try:
        settings = kind.model_validate({name: value for name, value in values.items() if name not in absent})
    except ValidationError as error:
        lines = describe_mistakes(error, list(kind.model_fields))
        return None, [*missing, *(line for line in lines if line.partition(":")[0] not in absent)]
    return settings, list(settings.contradictions())
