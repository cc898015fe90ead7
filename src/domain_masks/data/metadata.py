"""Strip metadata from PNG and JPEG files: texts, colour profiles, thumbnails, application data."""

from __future__ import annotations

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
_SCAN = 0xDA
_COMMENT = 0xFE
_APPLICATION = range(0xE0, 0xF0)
_EXIF = 0xE1
_ADOBE = 0xEE
_ADOBE_LENGTH = 14
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}


def can_have_metadata(start: bytes) -> bool:
    """Return whether a file with these first 8 bytes is of a format that :func:`without_metadata` supports."""
    return start.startswith((_PNG, _JPEG))


def without_metadata(content: bytes) -> bytes:
    """Return a PNG or JPEG file with only its pixels, its colour format, and EXIF, which holds the orientation.

    A file that cannot be parsed is returned unchanged.
    """
    return _plain_png(content) if content.startswith(_PNG) else _plain_jpeg(content)


def _plain_png(content: bytes) -> bytes:
    kept = [_PNG]
    place = len(_PNG)
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        # A chunk ends with four bytes of checksum.
        end = place + 8 + length + 4
        if name in _PNG_KEPT:
            kept.append(content[place:end])
        place = end
    return b"".join(kept) + content[place:]


def _plain_jpeg(content: bytes) -> bytes:
    kept = [content[:2]]
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker, length = struct.unpack_from(">BH", content, place + 1)
        if marker == 0xFF:  # fill bytes before a marker
            place += 1
            continue
        if marker == _SCAN or marker in _WITHOUT_LENGTH:
            break
        end = place + 2 + length
        if not _is_metadata(marker, length):
            kept.append(content[place:end])
        place = end
    return b"".join(kept) + content[place:]


def _is_metadata(marker: int, length: int) -> bool:
    if marker == _ADOBE:  # the colour format
        return length < _ADOBE_LENGTH
    return marker == _COMMENT or (marker in _APPLICATION and marker != _EXIF)
