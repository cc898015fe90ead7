"""Archives from elsewhere, unpacked so that nothing can be written outside of one new folder.

Only plain files and folders are unpacked, each written by this module into a folder that it has made itself: links,
devices and set-user-id files are refused, so that no entry can redirect a later one, and permissions and owners in the
archive are not taken over. ``tarfile`` has a filter of its own for this from Python 3.11.4 on (the default only from
3.14 on); where it is there it is asked as well, but nothing depends on it.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from domain_masks.data.downloading.member_names import RefusedError, folded, safe_parts
from domain_masks.errors import ArchiveError, DownloadError

_CHUNK = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
)
# As ZIP numbers them. LZMA and Zstandard may ask for gigabytes of memory in a header.
_ACCEPTED_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_METHODS = {1: "Shrink", 6: "Implode", 9: "Deflate64", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}


@dataclass(frozen=True)
class Bounds:
    """How much an archive may unpack to: bytes of all files together, and files and folders."""

    most_bytes: int
    most_members: int = 2_000_000


@dataclass(frozen=True)
class _Member:
    name: str
    is_folder: bool
    mode: int
    size: int
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path, folder: Path, bounds: Bounds, show: Callable[[int], None] = lambda done: None
) -> tuple[int, int]:
    """Unpack a ``.zip``, ``.tar``, ``.tar.gz`` or ``.tgz`` into ``folder``, which is made here, whole or not at all.

    ``show`` is told how many bytes are unpacked. Returns the numbers of files and of bytes. Raises ArchiveError, and
    leaves nothing, if the archive is damaged, if it unpacks to more than ``bounds``, or if a member is no plain file or
    folder, has a name that leads out of the folder or that some system cannot hold, or is there twice: the message
    names the member. Raises DownloadError where no space is left.
    """
    folder.mkdir(parents=True)
    name = ""
    try:
        unpacking = _Unpacking(folder, bounds, show)
        with ExitStack() as stack:
            for member in _members(archive, folder, bounds, stack):
                name = member.name
                unpacking.add(member)
            name = ""
    except RefusedError as reason:
        _remove(folder)
        raise ArchiveError(
            f"{archive.name} is not unpacked: the member {name!r} {reason}. Expected plain files and folders inside of "
            f"one folder, at most {bounds.most_bytes:,} bytes; get the archive from a source that you trust"
        ) from None
    except _DAMAGE as error:
        _remove(folder)
        raise _damaged(archive, name, error) from error
    except OSError as error:
        _remove(folder)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(f"no space is left for unpacking {archive.name} into {str(folder.parent)!r}") from error
        raise _damaged(archive, name, error) from error
    except BaseException:
        _remove(folder)
        raise
    return unpacking.files, unpacking.bytes


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _damaged(archive: Path, name: str, error: Exception) -> ArchiveError:
    where = f" at the member {name!r}" if name else ""
    return ArchiveError(
        f"{archive.name} cannot be unpacked{where}: {str(error) or type(error).__name__}. Expected a whole one; fetch it again"
    )


class _Unpacking:
    """Writes members below a folder, and counts them."""

    def __init__(self, folder: Path, bounds: Bounds, show: Callable[[int], None]) -> None:
        self.folder, self.bounds, self.show = folder, bounds, show
        self.members = self.files = self.bytes = 0
        self._spelling: dict[str, str] = {}
        self._is_file: set[str] = set()

    def add(self, member: _Member) -> None:
        self.members += 1
        if self.members > self.bounds.most_members:
            raise RefusedError(f"is number {self.members:,}: too many")
        parts = safe_parts(member.name)
        if not member.is_folder and not parts:
            raise RefusedError("has no name")
        if not member.is_folder and member.mode & (stat.S_ISUID | stat.S_ISGID):
            raise RefusedError("has the set-user-id or set-group-id bit")
        self._claim(parts, member.is_folder)
        path = self.folder.joinpath(*parts)
        if member.is_folder:
            path.mkdir(parents=True, exist_ok=True)
            return
        if self.bytes + member.size > self.bounds.most_bytes:
            raise RefusedError(f"makes it unpack to more than {self.bounds.most_bytes:,} bytes")
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, _create(path) as target:
            self._copy(source, target, member.size)
        self.files += 1

    def _copy(self, source: IO[bytes], target: IO[bytes], size: int) -> None:
        start = self.bytes
        while chunk := source.read(_CHUNK):
            self.bytes += len(chunk)
            # What is said of the size may be a lie; what comes is counted.
            if self.bytes > self.bounds.most_bytes:
                raise RefusedError(f"makes it unpack to more than {self.bounds.most_bytes:,} bytes")
            target.write(chunk)
            self.show(self.bytes)
        if self.bytes - start != size:
            raise RefusedError(f"has {self.bytes - start:,} bytes where {size:,} were announced")

    def _claim(self, parts: tuple[str, ...], is_folder: bool) -> None:
        """Note the name and the folders above it; refuses what another member has, in this or another case."""
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            other = self._spelling.get(folded(path))
            last = depth == len(parts)
            if other is None:
                self._spelling[folded(path)] = path
                if last and not is_folder:
                    self._is_file.add(path)
            elif other != path:
                raise RefusedError(f"has the name of {other!r} but for upper and lower case or the form of its letters")
            elif path in self._is_file or (last and not is_folder):
                raise RefusedError("is there twice" if last else f"lies below {path!r}, which is a file")


def _create(path: Path) -> IO[bytes]:
    # Never an existing file, never through a link, and with the user's own permissions.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def _members(archive: Path, folder: Path, bounds: Bounds, stack: ExitStack) -> Iterator[_Member]:
    name = archive.name.lower()
    if name.endswith(".zip"):
        return _zip_members(stack.enter_context(zipfile.ZipFile(archive)))
    if name.endswith((".tar.gz", ".tgz")):
        return _tar_members(cast(IO[bytes], stack.enter_context(gzip.open(archive))), folder, bounds, stack)
    if name.endswith(".tar"):
        return _tar_members(stack.enter_context(archive.open("rb")), folder, bounds, stack)
    raise ValueError("its name ends in none of .zip, .tar, .tar.gz, .tgz")


def _zip_members(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        mode = info.external_attr >> 16
        # ZipInfo.filename is cut at NUL and has had its separators changed; the archive's own name is judged.
        member = _Member(
            name=info.orig_filename,
            is_folder=info.is_dir(),
            mode=mode,
            size=info.file_size,
            open=lambda info=info: opened.open(info),  # type: ignore[misc]
        )
        kind = stat.S_IFMT(mode)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > info.is_dir():
            yield _never(member, "is a link or a device")
        elif info.flag_bits & 1:
            yield _never(member, "is encrypted")
        elif info.compress_type not in _ACCEPTED_METHODS:
            method = _METHODS.get(info.compress_type, f"method {info.compress_type}")
            yield _never(member, f"is compressed by {method}: only stored, Deflate and bzip2 are unpacked")
        else:
            yield member


def _never(member: _Member, reason: str) -> _Member:
    """Return a member that is refused as soon as it is looked at."""

    def refuse() -> IO[bytes]:
        raise RefusedError(reason)

    return _Member(member.name, is_folder=False, mode=0, size=0, open=refuse)


class _Metered:
    """A stream that says when it has given more than an archive within bounds can hold.

    ``tarfile`` reads a header's extension into memory whatever size it claims; no read larger than a piece is answered.
    """

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self.stream, self.most = stream, most
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise ValueError(f"a header claims {size:,} bytes")
        self.last = self.stream.read(size)
        self._check()
        return self.last

    def seek(self, offset: int) -> int:
        if offset > self.most:
            raise ValueError(f"it unpacks to more than {self.most:,} bytes")
        return self.stream.seek(offset)

    def tell(self) -> int:
        return self.stream.tell()

    def _check(self) -> None:
        if self.stream.tell() > self.most:
            raise ValueError(f"it unpacks to more than {self.most:,} bytes")


def _tar_members(stream: IO[bytes], folder: Path, bounds: Bounds, stack: ExitStack) -> Iterator[_Member]:
    overhead = 4 * tarfile.BLOCKSIZE * min(bounds.most_members, bounds.most_bytes) + tarfile.RECORDSIZE
    metered = _Metered(stream, bounds.most_bytes + overhead)
    opened = stack.enter_context(tarfile.TarFile(fileobj=cast(Any, metered)))
    for info in opened:
        member = _Member(
            name=info.name,
            is_folder=info.isdir(),
            mode=info.mode,
            size=info.size,
            open=lambda info=info: _open(opened, info, folder),  # type: ignore[misc]
        )
        if not (info.isdir() or info.isreg()) or info.issparse():
            yield _never(member, "is a link, a device or a sparse file")
            continue
        yield member
    # tarfile takes a broken header in the middle for the end, which is a block of zeros.
    if metered.last != bytes(tarfile.BLOCKSIZE):
        raise EOFError("it breaks off before its end")
    while metered.read(_CHUNK):  # to the end, where gzip keeps its checksum
        pass


def _open(opened: tarfile.TarFile, info: tarfile.TarInfo, folder: Path) -> IO[bytes]:
    """Open a file in a tar, unless Python's own filter, where there is one, has something against it."""
    data_filter = getattr(tarfile, "data_filter", None)
    if data_filter is not None:
        try:
            data_filter(info, str(folder))
        except tarfile.TarError as error:
            raise RefusedError(f"is refused by tarfile ({error})") from error
    return cast(IO[bytes], opened.extractfile(info))
