"""The errors of pydantic's validation, as messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from domain_masks.errors import nearest, shown
from domain_masks.records.spellings import suggestion


def describe_mistakes(error: ValidationError, known: Sequence[str], prefix: str = "") -> list[str]:
    """Turn pydantic's errors into a line per mistake."""
    lines: dict[str, str] = {}
    for mistake in error.errors():
        name = prefix + str(mistake["loc"][0] if mistake["loc"] else "")
        if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            guess = suggestion(str(mistake["loc"][0]), known)
            text = "there is no such setting" + (f": did you mean {prefix}{guess}?" if guess else "")
        else:
            text = describe(mistake)
        # A union reports an error per member; together they list what was expected.
        lines[name] = f"{lines[name]}; or {text}" if name in lines else f"{name}: {text}"
    return list(lines.values())


def describe(mistake: ErrorDetails) -> str:
    """Return the message for one invalid value, without its place."""
    text = mistake["msg"].removeprefix("Value error, ")
    return f"{text[:1].lower()}{text[1:]}, got {shown(mistake['input'])}{_guess(mistake)}"


def _guess(mistake: ErrorDetails) -> str:
    """Return a suggestion for a value that is not one of a few words."""
    if mistake["type"] != "literal_error" or not isinstance(mistake["input"], str):
        return ""
    guess = nearest(mistake["input"], re.findall(r"'([^']*)'", mistake["ctx"]["expected"]))
    return f" (did you mean {guess!r}?)" if guess else ""
