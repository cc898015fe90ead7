"""One file over HTTP: resumed where it broke off, bounded in size, compared with its checksum."""

from __future__ import annotations

import errno
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
from rich.filesize import decimal

from domain_masks.data.downloading.addresses import check_address, is_loopback
from domain_masks.data.downloading.checksums import Digest, chunks_of
from domain_masks.data.downloading.headers import number, seconds_to_wait, validator_of
from domain_masks.errors import DownloadError, RunFolderError
from domain_masks.progress import Reporter
from domain_masks.records.files import read_json, write_json

PART = ".part"
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_SLOWEST = 1000  # bytes per second, over the patience for one read


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, in seconds, and how often to try again.

    - ``breaks``: how often in a row a transfer may break off; one that has come ``worthwhile`` bytes further than ever
      before starts the count anew
    - ``first_wait``: before the first new attempt; twice as long before each further one, up to ``longest_wait``
    """

    connect: float = 20.0
    read: float = 60.0
    breaks: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0
    worthwhile: int = 8 << 20


@dataclass(frozen=True)
class Wanted:
    """A file to fetch.

    - ``most``: bytes that are never exceeded, for a file whose ``size`` is not known
    - ``checksum``: see :class:`Digest`
    - ``plain_http``: whether an address without encryption will do; a checksum has to stand in for it
    """

    url: str
    most: int
    size: int | None = None
    checksum: str | None = None
    plain_http: bool = False


class _BrokenOffError(Exception):
    """The transfer may succeed if it is tried again; ``wait`` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(wanted: Wanted, target: Path, reporter: Reporter, patience: Patience | None = None) -> str:
    """Fetch a file to ``target`` and return its SHA-256, hexadecimal.

    What has come is kept as ``<target>.part`` when it is interrupted, and the next call goes on behind it: if the server
    says that the file is the same still, or if a checksum will tell. Raises DownloadError, one message, if the server
    does not have or give it, if it broke off too often, if more comes than was announced, if no space is left, and if the
    checksum is not the expected one; then what came is removed.
    """
    check_address(wanted.url, wanted.plain_http)
    transfer = _Transfer(wanted, target, reporter, patience or Patience())
    try:
        transfer.run()
        if not transfer.digest.matches and transfer.resumed:
            reporter.say(f"{target.name}: the parts do not fit together; fetching it from the beginning")
            transfer.clear()
            transfer.run()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"no space is left for {target.name} in {str(target.parent)!r} after {decimal(transfer.done)}; make room "
                "and call again, which goes on there"
            ) from error
        raise DownloadError(f"cannot write {str(target)!r}: {error.strerror or error}") from error
    digest = transfer.digest
    if not digest.matches:
        message = (
            f"{wanted.url}: expected {digest.expected}, got {digest.got} ({transfer.done:,} bytes); what came is removed. "
            "Try again later or from a mirror (--url); if it stays so, the file has changed at its source"
        )
        transfer.clear()
        raise DownloadError(message)
    transfer.part.replace(target)
    transfer.note.unlink(missing_ok=True)
    return digest.sha256


class _Transfer:
    """The part that has come, and the attempts to get the rest."""

    def __init__(self, wanted: Wanted, target: Path, reporter: Reporter, patience: Patience) -> None:
        self.wanted, self.reporter, self.patience = wanted, reporter, patience
        self.name = target.name
        self.part = target.with_name(target.name + PART)
        self.note = target.with_name(target.name + PART + ".json")
        self.digest = Digest(wanted.checksum)
        self.done = 0
        self.resumed = False
        self.validator: str | None = None
        self.total: int | None = None

    @property
    def size(self) -> int | None:
        """Bytes of the whole file: as the caller knows, else as the server says."""
        return self.wanted.size if self.wanted.size is not None else self.total

    def clear(self) -> None:
        """Forget what has come."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.digest.reset()
        self.done, self.resumed, self.validator, self.total = 0, False, None, None

    def run(self) -> None:
        """Try until the file is there; raises DownloadError when patience ends."""
        self.part.parent.mkdir(parents=True, exist_ok=True)
        self._take_up()
        breaks, furthest = 0, self.done
        with self._client() as client, self.reporter.measure(self.name, self.wanted.size) as show:
            while not (self.size is not None and self.done == self.size):
                try:
                    self._attempt(client, show)
                    return
                except httpx2.UnsupportedProtocol as error:
                    raise DownloadError(f"{self.wanted.url}: {error}") from error
                except httpx2.TransportError as error:
                    reason, wait = str(error).rstrip(".") or type(error).__name__, 0.0
                except _BrokenOffError as error:
                    reason, wait = str(error), error.wait
                except (httpx2.TooManyRedirects, httpx2.InvalidURL) as error:
                    raise DownloadError(f"{self.wanted.url}: the server leads nowhere ({error})") from error
                if self.done >= furthest + self.patience.worthwhile:
                    breaks, furthest = 0, self.done
                breaks += 1
                self._wait_or_give_up(breaks, reason, wait)

    def _wait_or_give_up(self, breaks: int, reason: str, wait: float) -> None:
        of = f" of {decimal(self.size)}" if self.size is not None else ""
        if breaks > self.patience.breaks or wait > self.patience.longest_wait:
            asked = f"; the server asks to wait {wait:.0f} seconds" if wait else ""
            raise DownloadError(
                f"{self.wanted.url}: could not be fetched whole in {breaks} attempts: {reason}{asked}. "
                f"{decimal(self.done)}{of} are kept; call again later, which goes on there, or name a mirror (--url)"
            )
        pause = max(wait, min(self.patience.longest_wait, self.patience.first_wait * 2 ** (breaks - 1)))
        self.reporter.say(f"{self.name}: {reason} at {decimal(self.done)}{of}; trying again in {pause:.0f} s")
        time.sleep(pause)

    def _take_up(self) -> None:
        """Read what an earlier call has left, if that can be gone on with."""
        if not self.part.is_file():
            self.clear()
            return
        note: dict[str, object] = {}
        with suppress(RunFolderError):
            note = read_json(self.note)
        if note.get("url") == self.wanted.url:
            validator, total = note.get("validator"), note.get("total")
            self.validator = validator if isinstance(validator, str) else None
            self.total = total if isinstance(total, int) else None
        can_tell = self.validator is not None or self.wanted.checksum is not None
        length = self.part.stat().st_size
        if not can_tell or length == 0 or (self.size is not None and length > self.size):
            self.clear()
            return
        self.digest.reset()
        for chunk in chunks_of(self.part):
            self.digest.update(chunk)
        self.done, self.resumed = length, True
        self.reporter.say(f"{self.name}: going on after {decimal(length)}")

    def _client(self) -> httpx2.Client:
        def guard(request: httpx2.Request) -> None:
            # Asked for each redirection too.
            try:
                check_address(str(request.url), self.wanted.plain_http)
            except DownloadError as error:
                raise DownloadError(f"{self.wanted.url}: the server leads elsewhere: {error}") from error

        timeout = httpx2.Timeout(self.patience.read, connect=self.patience.connect)
        direct = is_loopback(httpx2.URL(self.wanted.url).host)
        return httpx2.Client(
            timeout=timeout, follow_redirects=True, event_hooks={"request": [guard]}, trust_env=not direct
        )

    def _attempt(self, client: httpx2.Client, show: Callable[[int], None]) -> None:
        # Compressed on the way, a part would not be a part of the file.
        headers = {"Accept-Encoding": "identity", "User-Agent": "domain-masks"}
        if self.done and self.validator is None and self.wanted.checksum is None:
            self.clear()
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
            if self.validator is not None:
                headers["If-Range"] = self.validator
        with client.stream("GET", self.wanted.url, headers=headers) as response:
            self._judge(response)
            self._receive(response, show)

    def _judge(self, response: httpx2.Response) -> None:
        """Look at the status and the headers; afterwards the body follows what has come."""
        status = response.status_code
        if status in _RETRIED:
            raise _BrokenOffError(f"the server answers {status} {response.reason_phrase}", seconds_to_wait(response))
        if status == 416 and self.done:
            self.clear()
            raise _BrokenOffError("the server has no bytes after those that came")
        if status not in (200, 206):
            raise DownloadError(
                f"{response.url}: the server answers {status} {response.reason_phrase}. The file is not there (any more) or "
                "not for everybody; name a mirror that has it (--url)"
            )
        encoding = response.headers.get("Content-Encoding", "identity")
        kind = response.headers.get("Content-Type", "")
        if encoding != "identity" or kind.startswith("text/html"):
            what = "a web page" if kind.startswith("text/html") else f"something encoded as {encoding}"
            raise DownloadError(f"{response.url}: expected the file {self.name}, got {what}; name a mirror (--url)")
        if status == 206:
            self._judge_part(response)
        else:
            if self.done:
                self.reporter.say(f"{self.name}: the file has changed, or the server cannot go on; from the beginning")
            self.clear()
            self.total = number(response.headers.get("Content-Length"))
        self._judge_size()
        self.validator = validator_of(response) or self.validator
        write_json(self.note, {"url": self.wanted.url, "validator": self.validator, "total": self.total})

    def _judge_part(self, response: httpx2.Response) -> None:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        total = number(found[3]) if found else None
        same = self.size is None or total is None or total == self.size
        validator = validator_of(response)
        known = self.validator is None or validator is None or validator == self.validator
        if not self.done or not found or int(found[1]) != self.done or not same or not known:
            self.clear()
            raise _BrokenOffError("the server gives another part than the one asked for")
        self.total = total if total is not None else self.total
        self.resumed = True

    def _judge_size(self) -> None:
        said, size = self.total, self.wanted.size
        if said is not None and size is not None and said != size and self.wanted.checksum is None:
            raise DownloadError(
                f"{self.wanted.url}: expected {size:,} bytes, the server has {said:,}: the file has changed"
            )
        if said is not None and size is None and said > self.wanted.most:
            raise DownloadError(
                f"{self.wanted.url}: expected at most {self.wanted.most:,} bytes, the server has {said:,}"
            )
        left = (self.size or 0) - self.done
        free = shutil.disk_usage(self.part.parent).free
        if left > free:
            raise DownloadError(
                f"{self.name} needs {decimal(left)} in {str(self.part.parent)!r}, where {decimal(free)} are free; make room, "
                "or name another folder (--root)"
            )

    def _receive(self, response: httpx2.Response, show: Callable[[int], None]) -> None:
        most = self.wanted.most if self.wanted.size is None else self.wanted.size
        window, before = time.monotonic(), self.done
        # Unbuffered, so that not even a killed process loses what it has received.
        with self.part.open("ab", buffering=0) as file:
            for chunk in response.iter_raw():
                if self.done + len(chunk) > most:
                    self.clear()
                    raise DownloadError(
                        f"{self.wanted.url}: expected at most {most:,} bytes, got more; what came is removed. The file has "
                        "changed at its source, or the server is not the right one"
                    )
                written = file.write(chunk)
                if written != len(chunk):
                    raise OSError(errno.ENOSPC, "no space is left")
                self.digest.update(chunk)
                self.done += len(chunk)
                show(self.done)
                if time.monotonic() - window > self.patience.read:
                    if self.done - before < _SLOWEST * self.patience.read:
                        raise _BrokenOffError(f"slower than {decimal(_SLOWEST)}/s")
                    window, before = time.monotonic(), self.done
        if self.size is not None and self.done < self.size:
            raise _BrokenOffError("the server broke off")
