"""The signature and the docstring of a function whose keywords are the settings of a command."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, ForwardRef, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from domain_masks.records.setting_types import flag_of
from domain_masks.records.spellings import canonical
from domain_masks.settings.command import Command, check_command

Function = TypeVar("Function", bound=Callable[..., Any])
_FLAG = re.compile(r"--(?=[a-z])")


class _Text(str):
    """An annotation that a signature shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def with_settings_of(keywords: type, *kinds: type[BaseModel]) -> Callable[[Function], Function]:
    """Give a function that takes ``**settings`` the signature and the docstring with every setting.

    ``inspect.signature``, ``help`` and the completion of notebooks then show name, type, default and help text of each; type
    checkers read them from ``Unpack[keywords]``.

    - ``keywords``: the TypedDict of the settings, in :mod:`domain_masks.calls.typed_keywords`
    - ``kinds``: the models that declare them
    """
    hints = keywords.__annotations__
    fields = {name: info for kind in kinds for name, info in kind.model_fields.items() if name in hints}

    def described(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        settings = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=_default(info), annotation=_Text(_text_of(hints[name]))
            )
            for name, info in fields.items()
        ]
        named = [parameter.replace(annotation=_Text(parameter.annotation)) for parameter in own]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*named, *settings], return_annotation=_Text(signature.return_annotation)
        )
        lines = [f"- ``{name}``: {help_text(info)}" for name, info in fields.items()]
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Settings:", "", *lines, ""])
        return function

    return described


def help_text(info: FieldInfo) -> str:
    """Return the help of a setting as Python names it, with what its default means where that is no single value."""
    otherwise = flag_of(info).otherwise
    text = (info.description or "") + (f" (default: {otherwise})" if otherwise and info.default is None else "")
    return _FLAG.sub("", text)


def read_keywords(kind: type[Command], values: Mapping[str, Any]) -> Command:
    """Return the settings of a command from the keywords of a call; raises InputError that lists every mistake."""
    named, mistakes = canonical(plain(values), kind.model_fields)
    return check_command(kind, named, mistakes)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with paths, alone or in lists, as texts, which is what files and flags have."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple) and any(isinstance(part, os.PathLike) for part in value):
        return [_plain(part) for part in value]
    return value


def _default(info: FieldInfo) -> Any:
    # A MethodChoice, which prints as an object.
    return getattr(info.default, "name", info.default)


def _text_of(hint: Any) -> str:
    return hint.__forward_arg__ if isinstance(hint, ForwardRef) else str(hint)
