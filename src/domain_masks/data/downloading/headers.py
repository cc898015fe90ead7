"""What a server's headers say."""

from __future__ import annotations

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime

import httpx2


def number(text: str | None) -> int | None:
    """Return a header's whole number; None for anything else."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None


def validator_of(response: httpx2.Response) -> str | None:
    """Return what If-Range may be given: a strong entity tag, else the date of the last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def seconds_to_wait(response: httpx2.Response) -> float:
    """Return what Retry-After asks for, in seconds or as a date; 0 where it asks for nothing."""
    asked = response.headers.get("Retry-After", "").strip()
    if (seconds := number(asked)) is not None:
        return float(seconds)
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    return 0.0
