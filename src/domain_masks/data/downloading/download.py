"""Download a dataset into the folder that its loader expects, completely or not at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.filesize import decimal

from domain_masks.data.downloading.archives import unpack
from domain_masks.data.downloading.arranging import ARRANGEMENTS, move_content
from domain_masks.data.downloading.checksums import checksum_of, git_tree
from domain_masks.data.downloading.sources import SOURCES, RemoteFile, Source
from domain_masks.data.downloading.transfer import PART, Patience, check_address, fetch
from domain_masks.errors import ArchiveError, DownloadError, InputError, RunFolderError, unknown
from domain_masks.progress import ConsoleReporter, Reporter
from domain_masks.records.files import read_json, write_json

RECEIPT = "download.json"
ARCHIVES_FOLDER = "downloads"
RECEIVED = "received.json"
_SCHEMA = 1


@dataclass(frozen=True)
class DownloadSettings:
    """Options of a download.

    - ``mirror``: base address of the files, in place of the official addresses
    - ``without_checksum``: whether to fetch files without a published checksum
    - ``keep_archives``: whether archives are kept after unpacking
    """

    mirror: str | None = None
    without_checksum: bool = False
    keep_archives: bool = False
    patience: Patience = field(default_factory=Patience)


def source_of(name: str) -> Source:
    """Return the source of a dataset; raises InputError for an unknown name."""
    if name not in SOURCES:
        raise unknown("dataset to download", name, SOURCES)
    return SOURCES[name]


def download(name: str, root: Path, reporter: Reporter, settings: DownloadSettings | None = None) -> Path:
    """Fetch a dataset into ``root/name`` and return that folder; one that was fetched before is left unchanged.

    Files are downloaded to ``root/downloads/name`` first, so that the next call resumes an interrupted download; a file
    put there by hand is used if its checksum matches. The folder ``root/name``
    appears when it is complete, with a receipt ``download.json``. Raises InputError for an unknown name, an occupied
    folder and manual steps; DownloadError for files that cannot be fetched or fail their checks.
    """
    work = _Download(name, root, reporter, settings or DownloadSettings())
    with _disk_errors(name, root):
        if not work.is_there():
            work.check()
            with work.locked():
                # Another call may have finished meanwhile.
                if not work.is_there():
                    work.run()
                    reporter.say(f"{name}: {work.target}")
    return work.target


def plan(name: str, root: Path, settings: DownloadSettings) -> list[str]:
    """Return lines with the files that would be fetched, their sources, sizes and terms."""
    work = _Download(name, root, ConsoleReporter(quiet=True), settings)
    source = work.source
    lines = [
        f"{name}: {source.summary}",
        f"about it: {source.page}",
        f"terms: {source.terms}",
        f"into: {work.target}",
        "",
    ]
    for file in source.files:
        size = decimal(file.size) if file.size is not None else f"at most {decimal(file.most)}"
        url = work.url(file) or f"by hand into {work.archives}, from {source.page}"
        state = " (there)" if (work.archives / file.name).is_file() else ""
        lines += [f"{file.name}{state}, {size}, {file.published_checksum or 'no checksum is published'}", f"  {url}"]
    lines += ["", f"space: {decimal(work.space())} until everything is unpacked"]
    return lines + [f"before it can start: {problem}" for problem in work.problems()]


@contextmanager
def _disk_errors(name: str, root: Path) -> Iterator[None]:
    """Raise DownloadError in place of an OSError while ``name`` is put into ``root``."""
    try:
        yield
    except BrokenPipeError:
        # The reader of standard output has gone; this is no error of the disk.
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"no space is left for {name} in {str(root)!r}; make room, or name another --root, and call again to resume"
            ) from error
        where = f" at {str(error.filename)!r}" if error.filename is not None else ""
        raise DownloadError(
            f"cannot put {name} into {str(root)!r}: {error.strerror or error}{where}; expected a folder that can be read and "
            "written: check its permissions, or name another --root, and call again"
        ) from error


class _Download:
    """The download of one dataset."""

    def __init__(self, name: str, root: Path, reporter: Reporter, settings: DownloadSettings) -> None:
        self.name, self.source, self.root = name, source_of(name), root
        self.reporter, self.settings = reporter, settings
        self.target = root / name
        self.archives = root / ARCHIVES_FOLDER / name
        self.staging = root / f".{name}.unpacking"
        if settings.mirror is not None:
            check_address(settings.mirror)
        self.received: dict[str, Any] = {}
        with suppress(RunFolderError):
            self.received = read_json(self.archives / RECEIVED).get("files", {})

    def url(self, file: RemoteFile) -> str | None:
        """Return where a file is fetched from; None where it has to be downloaded by hand."""
        return file.url if self.settings.mirror is None else f"{self.settings.mirror.rstrip('/')}/{file.name}"

    def problems(self) -> list[str]:
        """Return the manual steps that are needed first."""
        problems = []
        absent = [file for file in self.source.files if not (self.archives / file.name).is_file()]
        if by_hand := [file.name for file in absent if self.url(file) is None]:
            problems.append(
                f"{', '.join(by_hand)} cannot be fetched by a program: open {self.source.page}, read the terms, download "
                f"it there, put it into {str(self.archives)!r} (make that folder) and call again; it is then checked, "
                "unpacked and arranged"
            )
        unchecked = [
            file.name for file in self.source.files if not (file.published_checksum or file.name in self.received)
        ]
        if unchecked and not self.settings.without_checksum:
            problems.append(
                f"no checksum is published for {', '.join(unchecked)}: --without_checksum fetches all the same, says which "
                "SHA-256 came, and compares the next fetch with it"
            )
        return problems

    def space(self) -> int:
        """Return the bytes needed for fetching and unpacking, without those on disk already."""
        needed = 0
        for file in self.source.files:
            whole, part = self.archives / file.name, self.archives / (file.name + PART)
            here = next((path.stat().st_size for path in (whole, part) if path.is_file()), 0)
            size = here if whole.is_file() else file.largest
            needed += max(0, size - here) + (0 if file.place else file.unpacked or size)
        return needed

    def is_there(self) -> bool:
        """Return whether the dataset was fetched before, and report it."""
        there = (self.target / RECEIPT).is_file()
        if there:
            self.reporter.say(f"{self.name} is there already: {self.target}")
        return there

    def check(self) -> None:
        if self.target.exists() and (not self.target.is_dir() or any(self.target.iterdir())):
            raise InputError(
                f"{str(self.target)!r} is there, but was not made by `dmg data download`: expected no such folder; look at "
                f"it with `dmg data list {self.name} --root {self.root}`, move it away, or name another --root"
            )
        if problems := self.problems():
            raise InputError(f"{self.name}: " + "; ".join(problems))
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{str(self.root)!r} is a file: expected a folder to put datasets into")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock out a second call for the same dataset, which would write the same files."""
        try:
            self.archives.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write into {str(self.root)!r}: {error.strerror}; name another --root") from error
        lock = FileLock(self.archives / ".lock", timeout=0)
        try:
            with lock:
                yield
                (self.archives / ".lock").unlink(missing_ok=True)
        except Timeout as error:
            raise InputError(
                f"{self.name} is being downloaded into {str(self.root)!r} by another call; wait for it"
            ) from error
        for folder in (self.archives, self.archives.parent):
            with suppress(OSError):  # not empty: kept archives, or another dataset
                folder.rmdir()

    def run(self) -> None:
        needed, free = self.space(), shutil.disk_usage(self.root).free
        if needed > free:
            raise DownloadError(
                f"{self.name} needs {decimal(needed)} in {str(self.root)!r} until it is unpacked, where {decimal(free)} are "
                "free; make room, or name another --root"
            )
        self.reporter.say(f"{self.name}: {self.source.summary}. Terms: {self.source.terms}")
        entries = [self._obtain(file) for file in self.source.files]
        # Left by a killed call; the lock excludes other processes.
        shutil.rmtree(self.staging, ignore_errors=True)
        try:
            self._assemble(self.staging / "dataset", entries)
        finally:
            shutil.rmtree(self.staging, ignore_errors=True)
        if not self.settings.keep_archives:
            for file in self.source.files:
                (self.archives / file.name).unlink(missing_ok=True)

    def _obtain(self, file: RemoteFile) -> dict[str, Any]:
        """Fetch one file into the folder of archives; returns its entry in the receipt."""
        path = self.archives / file.name
        known = self.received.get(file.name, {})
        expected = file.checksum or (f"sha256:{known['sha256']}" if "sha256" in known else None)
        kind = (expected or "sha256").partition(":")[0]
        url = self.url(file)
        got = checksum_of(path, kind) if path.is_file() else None
        if got is not None and expected in (None, got):
            self.reporter.say(f"{file.name} is there already")
            return self._entry(file, None, got)
        if url is None:
            raise InputError(
                f"{str(path)!r}: expected {expected}, got {got or 'no file'}; remove it and download it again from "
                f"{self.source.page}"
            )
        if got is not None:
            self.reporter.say(f"{file.name} is there, but has the wrong checksum ({got}); fetching it")
        if known and not file.checksum:
            self.reporter.say(
                f"{file.name} is compared with the one of {known.get('received')}; {RECEIVED} in {self.archives} remembers it"
            )
        got = fetch(url, replace(file, checksum=expected), path, self.reporter, self.settings.patience)
        entry = self._entry(file, url, got)
        if file.published_checksum is None:
            self.reporter.say(f"{file.name}: no published checksum to compare with; SHA-256 is {entry['sha256']}")
            self.received[file.name] = {"sha256": entry["sha256"], "url": url, "received": _now()}
            write_json(self.archives / RECEIVED, {"schema": _SCHEMA, "files": self.received})
        return entry

    def _entry(self, file: RemoteFile, url: str | None, checksum: str) -> dict[str, Any]:
        path = self.archives / file.name
        sha256 = (checksum if checksum.startswith("sha256:") else checksum_of(path)).removeprefix("sha256:")
        size = path.stat().st_size
        return {"name": file.name, "url": url, "size": size, "sha256": sha256, "compared_with": file.published_checksum}

    def _assemble(self, folder: Path, entries: list[dict[str, Any]]) -> None:
        unpacked = {file.name: self._unpacked(file) for file in self.source.files if file.place is None}
        if self.source.arrangement:
            ARRANGEMENTS[self.source.arrangement](unpacked, folder, self.reporter)
        else:
            for content in unpacked.values():
                move_content(content, folder)
        for file in self.source.files:
            if file.place is not None:
                (folder / file.place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.archives / file.name, folder / file.place)
        missing = [name for name in self.source.folders if not (folder / name).is_dir()]
        if missing:
            raise ArchiveError(
                f"{self.name}: expected the folders {', '.join(self.source.folders)}, got none named {', '.join(missing)}; the "
                "archives have other content"
            )
        receipt = {"schema": _SCHEMA, "dataset": self.name, "source": self.source.page, "terms": self.source.terms}
        write_json(folder / RECEIPT, {**receipt, "downloaded": _now(), "files": entries})
        if self.target.exists():
            self.target.rmdir()  # checked to be empty
        folder.rename(self.target)

    def _unpacked(self, file: RemoteFile) -> Path:
        """Unpack an archive and return the folder in it with the images."""
        archive, folder = self.archives / file.name, self.staging / file.name
        self.reporter.say(f"unpacking {file.name}")
        try:
            with self.reporter.measure(f"unpacking {file.name}", None) as show:
                unpack(archive, folder, file.most_unpacked(archive.stat().st_size), show)
            inside = folder / file.inside
            if not inside.is_dir():
                held = ", ".join(sorted(path.name for path in folder.iterdir())[:5])
                raise ArchiveError(f"{file.name}: expected a folder {file.inside!r} in it, got {held or 'nothing'}")
            if file.tree and (tree := git_tree(inside)) != file.tree:
                raise ArchiveError(f"{file.name}: expected the folder with git's id {file.tree}, got {tree}")
        except ArchiveError as error:
            if self.url(file) is None:
                raise
            # Otherwise the next call would use it again.
            archive.unlink(missing_ok=True)
            raise ArchiveError(f"{error}. The archive is removed") from error
        return inside


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
