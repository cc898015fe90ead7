"""Names in archives: which may become files, and which mean the same file."""

from __future__ import annotations

import re
import unicodedata

_LONGEST_NAME = 255


class RefusedError(Exception):
    """A member that is not unpacked; the text completes 'the member ...'."""


def safe_parts(name: str) -> tuple[str, ...]:
    """Return the parts of a member's name; raises RefusedError for one that leads, or could lead anywhere, outside."""
    if "\0" in name or any(unicodedata.category(letter) == "Cc" for letter in name):
        raise RefusedError("has a control character in its name")
    if "\\" in name:
        raise RefusedError("has a backslash in its name")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise RefusedError("has an absolute name")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise RefusedError("has a name that is not UTF-8") from None
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise RefusedError("leads out of the folder")
    if any(len(part.encode()) > _LONGEST_NAME for part in parts):
        raise RefusedError(f"has a name of more than {_LONGEST_NAME} bytes")
    return parts


def folded(path: str) -> str:
    """Return what two names have in common that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
