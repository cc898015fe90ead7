"""Unpack archives with the standard library: only plain files and folders, into one new folder, up to a size limit."""

from __future__ import annotations

import gzip
import lzma
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from domain_masks.errors import ArchiveError

_CHUNK = 1 << 20
# RuntimeError: encrypted members and compressions that zipfile does not know; ValueError, IndexError: odd names.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(RuntimeError, ValueError, IndexError, OverflowError, OSError),
)


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    size: int
    extract: Callable[[], object]


def unpack(archive: Path, folder: Path, most_bytes: int, show: Callable[[int], None] = lambda done: None) -> int:
    """Unpack a ``.zip``, ``.tar.gz`` or ``.tgz`` into ``folder``, which is created; return the bytes of all files.

    ``zipfile``, and ``tarfile`` with its filter ``data``, keep every member inside of the folder. Links and devices in a
    tar are refused, those in a ZIP become plain files; owners and permissions are not kept. ``show`` is called with the
    number of bytes unpacked so far.

    Raises ArchiveError, which names the member, if the archive is damaged, unpacks to more than ``most_bytes``, or has
    files whose names differ in case alone. Unpacked files stay: the caller removes the folder. Raises OSError for
    errors of the disk.
    """
    folder.mkdir(parents=True)
    done = 0
    member = None
    names: dict[str, _Member] = {}
    try:
        for member in (_zip_members if archive.name.lower().endswith(".zip") else _tar_members)(archive, folder):
            done += member.size
            if done > most_bytes:
                raise ValueError(f"it makes the archive unpack to more than {most_bytes:,} bytes")
            if not member.is_folder and (same := names.setdefault(_folded(member.name), member)) is not member:
                # One would replace the other, on some file systems or on all.
                raise ValueError(f"it has the name of {same.name!r}, but for upper and lower case")
            member.extract()
            show(done)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            # An error of the disk, not of gzip or bzip2.
            raise
        where = f" at the member {member.name!r}" if member is not None else ""
        raise ArchiveError(f"{archive.name} cannot be unpacked{where}: {error or type(error).__name__}") from error
    return done


def _folded(name: str) -> str:
    """Return a key that is equal for names that some file system treats as the same."""
    return unicodedata.normalize("NFC", name.removeprefix("./")).casefold()


def _zip_members(archive: Path, folder: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            # At most the declared size of a member is read.
            yield _Member(info.filename, info.is_dir(), info.file_size, partial(opened.extract, info, folder))


def _tar_members(archive: Path, folder: Path) -> Iterator[_Member]:
    if not hasattr(tarfile, "data_filter"):
        raise ArchiveError(
            f"unpacking {archive.name} needs Python 3.11.4 or newer, whose tarfile can filter; update Python"
        )
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:", tarinfo=_WholeHeader) as opened:
        for info in opened:
            yield _Member(
                info.name, info.isdir(), info.size, partial(opened.extract, info, folder, filter=_plain_member)
            )
        while stream.read(_CHUNK):  # to the end, where gzip stores its checksum
            pass


class _WholeHeader(tarfile.TarInfo):
    """A member with a valid header; ``tarfile`` treats a damaged one as the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        """Return the next member; raises ReadError where its header is damaged."""
        try:
            return super().fromtarfile(tar)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"the header after it is damaged ({error})") from error


def _plain_member(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """Refuse links and devices, then apply the filter ``data``, without permissions."""
    # The escapes from that filter in some versions of Python need a link.
    if not (member.isfile() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    return tarfile.data_filter(member, folder).replace(mode=None, deep=False)  # type: ignore[arg-type]
