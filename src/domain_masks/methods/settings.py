"""Validate and complete the settings of a method before the method itself is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from domain_masks.errors import InputError, combine_errors
from domain_masks.methods.description import Settings
from domain_masks.methods.method_registry import described
from domain_masks.records.config import RunConfig
from domain_masks.records.method_choice import MethodChoice
from domain_masks.records.spellings import underscored
from domain_masks.records.validation import describe_mistakes


def method_settings(name: str, values: Mapping[str, Any]) -> Settings:
    """Return a method's validated settings, defaults filled in; raises InputError that lists every mistake."""
    settings, mistakes = check_method(name, values)
    if settings is None:
        raise combine_errors(mistakes)
    return settings


def check_method(name: str, values: Mapping[str, Any]) -> tuple[Settings | None, list[str]]:
    """Return a method's validated settings, or None and a line per mistake; raises InputError for an unknown method."""
    kind = described(name).Settings
    values, spellings = underscored(values)
    known = [field.name for field in fields(kind)]
    if not known and values:
        return None, [f"method.{key}: there is no such setting, method {name!r} has none" for key in values]
    try:
        settings: Settings = TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        return None, describe_mistakes(error, known, prefix="method.")
    return (settings, []) if not spellings else (None, [f"method.{line}" for line in spellings])


def with_settings(config: RunConfig) -> RunConfig:
    """Return a run's settings with validated, complete settings of its method; unchanged if they already are.

    Raises InputError for an unknown method, and with a line per mistake.
    """
    choice = config.method
    if choice.settings is not None:
        return config
    checked = replace(choice, settings=method_settings(choice.name, choice.given))
    return config.model_copy(update={"method": checked})


def complete_method(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the method's name and all its settings as plain values, defaults filled in; raises InputError for mistakes."""
    return MethodChoice(name, values, method_settings(name, values)).to_dict()


def method_defaults(name: str) -> dict[str, Any]:
    """Return the defaults of a method's own settings; empty for a method with required settings, or an unknown one."""
    try:
        settings: Any = described(name).Settings
        return dict(_defaults_of(name, settings))
    except InputError:
        return {}


@lru_cache(maxsize=64)
def _defaults_of(name: str, _settings: type) -> dict[str, Any]:
    return {key: value for key, value in complete_method(name, {}).items() if key != "name"}
