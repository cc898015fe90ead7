"""Checksums of files and of folders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from domain_masks.errors import InputError

KINDS = {"sha256": 64, "md5": 32}
"""Kind -> number of hexadecimal digits."""

_CHUNK = 1 << 20


class Digest:
    """Computes the SHA-256 of what it is fed, and beside it the kind that ``expected`` has.

    ``expected`` is ``kind:hexadecimal`` with a kind in KINDS, or None. Raises InputError if it is not of that form.
    """

    def __init__(self, expected: str | None = None) -> None:
        kind, _, digits = (expected or "sha256:").partition(":")
        if kind not in KINDS or (expected and len(digits) != KINDS[kind]):
            forms = " or ".join(f"{name}:<{length} hexadecimal digits>" for name, length in KINDS.items())
            raise InputError(f"expected a checksum as {forms}, got {expected!r}")
        self.expected = expected
        self.kind = kind
        self.reset()

    def reset(self) -> None:
        """Forget what it was fed."""
        # MD5 is computed only where nothing better was published; it finds broken files, not forged ones.
        self._hashes = {kind: hashlib.new(kind, usedforsecurity=False) for kind in {"sha256", self.kind}}

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        for one in self._hashes.values():
            one.update(data)

    @property
    def sha256(self) -> str:
        """SHA-256 so far, hexadecimal."""
        return self._hashes["sha256"].hexdigest()

    @property
    def got(self) -> str:
        """The checksum so far, in the form of ``expected``."""
        return f"{self.kind}:{self._hashes[self.kind].hexdigest()}"

    @property
    def matches(self) -> bool:
        """Whether it is the expected one; true where none was expected."""
        return self.expected is None or self.got == self.expected.lower()


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def digest_of(path: Path, expected: str | None = None) -> Digest:
    """Return the digest of a whole file."""
    digest = Digest(expected)
    for chunk in chunks_of(path):
        digest.update(chunk)
    return digest


def git_tree(folder: Path) -> str:
    """Return the id that git gives a folder of plain files: 40 hexadecimal digits that stand for every name and byte.

    An archive that a server packs anew for each request has no checksum of its own; the folder in it has one.
    """
    entries = []
    for path in folder.iterdir():
        if path.is_dir():
            entries.append((f"{path.name}/", b"40000 ", git_tree(path)))
        else:
            blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            for chunk in chunks_of(path):
                blob.update(chunk)
            entries.append((path.name, b"100644 ", blob.hexdigest()))
    # Git sorts a folder as if its name ended in a slash.
    entries.sort(key=lambda entry: entry[0].encode())
    body = b"".join(mode + name.rstrip("/").encode() + b"\0" + bytes.fromhex(digits) for name, mode, digits in entries)
    return hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
