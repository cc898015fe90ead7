"""Checksums of files and of folders."""

from __future__ import annotations

import hashlib
from pathlib import Path


def checksum_of(path: Path, kind: str = "sha256") -> str:
    """Return the checksum of a file as ``kind:<hexadecimal digits>``: sha256, or md5 where only that is published."""
    with path.open("rb") as file:
        # MD5 detects damaged files, not forged ones.
        digest = hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False))
    return f"{kind}:{digest.hexdigest()}"


def git_tree(folder: Path) -> str:
    """Return git's tree id of a folder of plain files: 40 hexadecimal digits, a hash of all names and contents.

    An archive that a server creates for each request has no stable checksum; the folder in it has one.
    """
    entries = []
    for path in folder.iterdir():
        if path.is_dir():
            entries.append((f"{path.name}/", b"40000 ", git_tree(path)))
        else:
            entries.append((path.name, b"100644 ", _git_id("blob", path.read_bytes())))
    # Git sorts a folder as if its name ended in a slash.
    entries.sort(key=lambda entry: entry[0].encode())
    body = b"".join(mode + name.rstrip("/").encode() + b"\0" + bytes.fromhex(digits) for name, mode, digits in entries)
    return _git_id("tree", body)


def _git_id(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
