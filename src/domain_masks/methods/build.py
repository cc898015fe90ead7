"""From a name and settings to a method around a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import nn

from domain_masks.errors import together, unknown
from domain_masks.methods import METHODS
from domain_masks.methods.base import Context, Method, Settings
from domain_masks.randomness import seeded
from domain_masks.records.config import describe_mistakes
from domain_masks.records.spellings import underscored


def method_class(name: str) -> type[Method]:
    """Return the class of the method ``name``; raises InputError that lists the methods there are."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def method_settings(name: str, values: Mapping[str, Any]) -> Settings:
    """Check a method's settings; raises InputError that lists every mistake."""
    settings, mistakes = check_method(name, values)
    if settings is None:
        raise together(mistakes)
    return settings


def check_method(name: str, values: Mapping[str, Any]) -> tuple[Settings | None, list[str]]:
    """Return a method's settings, or None and a line per mistake; raises InputError for an unknown method."""
    kind = method_class(name).Settings
    values, spellings = underscored(values)
    known = [field.name for field in fields(kind)]
    if not known and values:
        return None, [f"method.{given}: there is no such setting, method {name!r} has none" for given in values]
    try:
        settings: Settings = TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        return None, describe_mistakes(error, known, prefix="method.")
    return (settings, []) if not spellings else (None, [f"method.{line}" for line in spellings])


def complete_method(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the method's name and all its settings as plain values, defaults filled in; raises InputError for mistakes."""
    settings = method_settings(name, values)
    return {"name": name, **TypeAdapter(type(settings)).dump_python(settings, mode="json")}


def build_method(name: str, backbone: nn.Module, context: Context, settings: Settings, seed: int = 0) -> Method:
    """Build the method around ``backbone``; what it initialises is keyed by ``seed``."""
    with seeded(seed, "initialisation/method"):
        # Every algorithm is built from a backbone as well; the base class, which has no network yet, is not.
        kind: Callable[[nn.Module, Context, Settings], Method] = method_class(name)
        return kind(backbone, context, settings)
