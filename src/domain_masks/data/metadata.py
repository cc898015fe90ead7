"""PNG and JPEG files without what is no image in them: texts, colour profiles, thumbnails, notes of programs."""

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
    """Return whether a file that begins so, with 8 bytes, is of a kind that :func:`without_metadata` knows."""
    return start.startswith((_PNG, _JPEG))


def without_metadata(content: bytes) -> bytes:
    """Return a PNG or JPEG file with nothing but pixels, the form of its colours, and EXIF, which says the orientation.

    What cannot be taken apart stays as it is.
    """
    return _plain_png(content) if content.startswith(_PNG) else _plain_jpeg(content)


def _plain_png(content: bytes) -> bytes:
    kept = [_PNG]
    place = len(_PNG)
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        # Behind the content of a chunk stand four bytes to check it by.
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
        if marker == 0xFF:  # may fill the space before a marker
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
    if marker == _ADOBE:  # says what its colours are
        return length < _ADOBE_LENGTH
    return marker == _COMMENT or (marker in _APPLICATION and marker != _EXIF)
