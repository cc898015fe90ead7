"""Text files as spreadsheets and editors save them: UTF-8, or the encoding of a byte-order mark."""

from __future__ import annotations

import codecs

MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte-order mark -> encoding; longer marks first, since one of them starts with a shorter one."""
LONGEST_MARK = 4


def encoding_of(start: bytes) -> tuple[str, int]:
    """Return the encoding of a text by its first 4 bytes, and the length of its mark in bytes; UTF-8 without a mark."""
    for mark, encoding in MARKS.items():
        if start.startswith(mark):
            return encoding, len(mark)
    return "utf-8", 0


def decoded_text(content: bytes, errors: str = "strict") -> str:
    """Return a file's text without its mark; raises UnicodeDecodeError unless ``errors`` says otherwise."""
    encoding, length = encoding_of(content[:LONGEST_MARK])
    return content[length:].decode(encoding, errors)
