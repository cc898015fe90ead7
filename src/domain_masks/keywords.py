"""Calls from Python with an unknown keyword: one message that suggests the nearest, as on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from domain_masks.errors import InputError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class KeywordError(InputError, TypeError):
    """A function was called with arguments that it does not accept; also a :class:`TypeError`, as in Python."""


def named_keywords(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Wrap ``function`` so that a call with wrong arguments raises KeywordError, which lists the accepted ones.

    Its type and signature are kept. Exceptions from inside the function pass through.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def called(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        try:
            return function(*arguments, **keywords)
        except TypeError as error:
            if isinstance(error, KeywordError):
                raise
            try:
                signature.bind(*arguments, **keywords)
            except TypeError as mismatch:
                raise KeywordError(_message(function.__name__, signature, keywords, mismatch)) from None
            raise

    return called


def _message(name: str, signature: inspect.Signature, keywords: object, mismatch: TypeError) -> str:
    from domain_masks.records.spellings import suggestion  # noqa: PLC0415 - the package's first import stays small

    known = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) and parameter.name != "self"
    ]
    unknown = [keyword for keyword in keywords if keyword not in known] if isinstance(keywords, dict) else []
    if not unknown:
        return f"{name}(): {mismatch}; it takes {', '.join(known)}"
    lines = []
    for keyword in unknown:
        guess = suggestion(keyword, known)
        lines.append(f"{keyword!r} is not an argument" + (f": did you mean {guess!r}?" if guess else "."))
    return f"{name}(): {' '.join(lines)} It takes {', '.join(known)}"
