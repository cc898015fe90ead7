"""Download one file over HTTP: resumable, limited in size, verified by its checksum."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
from rich.filesize import decimal

from domain_masks.data.downloading.checksums import checksum_of
from domain_masks.data.downloading.sources import RemoteFile
from domain_masks.errors import DownloadError, RunFolderError
from domain_masks.progress import Reporter
from domain_masks.records.files import read_json, write_json

PART = ".part"
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """Timeouts, in seconds, and limits of retries.

    - ``breaks``: failed attempts in a row, each with less than ``worthwhile`` new bytes, before giving up
    - ``first_wait``: before the first retry; doubled before each further one, up to ``longest_wait``
    """

    connect: float = 20.0
    read: float = 60.0
    breaks: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0
    worthwhile: int = 8 << 20


class _BrokenOffError(Exception):
    """The transfer may succeed if it is retried; ``wait`` is the server's Retry-After, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(url: str, file: RemoteFile, target: Path, reporter: Reporter, patience: Patience | None = None) -> str:
    """Fetch ``file`` from ``url`` to ``target`` and return its checksum, of the expected kind or ``sha256:...``.

    An interrupted download is kept as ``<target>.part``, and the next call resumes it if the server says that the file is
    unchanged, or if a checksum can verify it. Raises DownloadError, one message, if the server does not
    have or give the file, if the transfer broke off too often, if more comes than was announced, and if the checksum is
    not the expected one; then what came is removed.
    """
    transfer = _Transfer(url, file, target, reporter, patience or Patience())
    check_address(url, transfer.plain_http)
    transfer.run()
    kind = (file.checksum or "sha256").partition(":")[0]
    got = checksum_of(transfer.part, kind)
    if transfer.resumed and file.checksum not in (None, got):
        reporter.say(f"{target.name}: the parts do not fit together; fetching it from the beginning")
        transfer.clear()
        transfer.run()
        got = checksum_of(transfer.part, kind)
    if file.checksum not in (None, got):
        message = (
            f"{url}: expected {file.checksum}, got {got} ({transfer.done:,} bytes); what came is removed. Try again "
            "later or from a mirror (--url); if it stays so, the file has changed at its source"
        )
        transfer.clear()
        raise DownloadError(message)
    transfer.part.replace(target)
    transfer.note.unlink(missing_ok=True)
    return got


def check_address(url: str, plain_http: bool = False) -> None:
    """Raise DownloadError unless ``url`` is https, or http where ``plain_http`` or on this machine itself."""
    try:
        address = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as error:
        raise DownloadError(
            f"expected an address such as https://example.org/file.zip, got {url!r} ({error})"
        ) from error
    encrypted = address.scheme == "https" and bool(address.host)
    if not encrypted and not (address.scheme == "http" and (plain_http or _is_loopback(address.host))):
        raise DownloadError(f"expected an address that begins with https://, got {url!r}; give one that is encrypted")


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


class _Transfer:
    """The downloaded part, and the attempts to get the rest; ``validator`` is a valid If-Range header, or None."""

    def __init__(self, url: str, file: RemoteFile, target: Path, reporter: Reporter, patience: Patience) -> None:
        self.url, self.file, self.reporter, self.patience = url, file, reporter, patience
        # Without encryption a checksum is required.
        self.plain_http = url == file.url and url.startswith("http://") and file.checksum is not None
        self.name = target.name
        self.part = target.with_name(target.name + PART)
        self.note = target.with_name(target.name + PART + ".json")
        self.done = 0
        self.resumed = False
        self.validator: str | None = None
        self.size = file.size
        """Size of the whole file in bytes: the expected one, otherwise the server's."""

    def clear(self) -> None:
        """Discard the downloaded part."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.done, self.resumed, self.validator, self.size = 0, False, None, self.file.size

    def run(self) -> None:
        """Retry until the file is complete; raises DownloadError when the retries are used up."""
        self.part.parent.mkdir(parents=True, exist_ok=True)
        self._resume()
        breaks, furthest = 0, self.done
        with self._client() as client, self.reporter.measure(self.name, self.file.size) as show:
            while not (self.size is not None and self.done == self.size):
                try:
                    self._attempt(client, show)
                    return
                except (httpx2.TooManyRedirects, httpx2.InvalidURL) as error:
                    raise DownloadError(f"{self.url}: the server leads nowhere ({error})") from error
                except httpx2.TransportError as error:
                    reason, wait = str(error).rstrip(".") or type(error).__name__, 0.0
                except _BrokenOffError as error:
                    reason, wait = str(error), error.wait
                if self.done >= furthest + self.patience.worthwhile:
                    breaks, furthest = 0, self.done
                breaks += 1
                self._wait_or_give_up(breaks, reason, wait)

    def _wait_or_give_up(self, breaks: int, reason: str, wait: float) -> None:
        of = f" of {decimal(self.size)}" if self.size is not None else ""
        if breaks > self.patience.breaks or wait > self.patience.longest_wait:
            asked = f"; the server asks to wait {wait:.0f} seconds" if wait else ""
            raise DownloadError(
                f"{self.url}: could not be fetched whole in {breaks} attempts: {reason}{asked}. "
                f"{decimal(self.done)}{of} are kept; call again later to resume, or name a mirror (--url)"
            )
        pause = max(wait, min(self.patience.longest_wait, self.patience.first_wait * 2 ** (breaks - 1)))
        self.reporter.say(f"{self.name}: {reason} at {decimal(self.done)}{of}; trying again in {pause:.0f} s")
        time.sleep(pause)

    def _resume(self) -> None:
        """Resume the part of an earlier call, where a validator or a checksum can verify that it is of the same file."""
        if not self.part.is_file():
            self.clear()
            return
        note: dict[str, object] = {}
        with suppress(RunFolderError):
            note = read_json(self.note)
        validator = note.get("validator") if note.get("url") == self.url else None
        length = self.part.stat().st_size
        can_tell = isinstance(validator, str) or self.file.checksum is not None
        if not can_tell or length == 0 or (self.size is not None and length > self.size):
            self.clear()
            return
        self.validator = validator if isinstance(validator, str) else None
        self.done, self.resumed = length, True
        self.reporter.say(f"{self.name}: resuming after {decimal(length)}")

    def _client(self) -> httpx2.Client:
        def guard(request: httpx2.Request) -> None:
            # Checked for each redirection too.
            try:
                check_address(str(request.url), self.plain_http)
            except DownloadError as error:
                raise DownloadError(f"{self.url}: the server leads elsewhere: {error}") from error

        return httpx2.Client(
            timeout=httpx2.Timeout(self.patience.read, connect=self.patience.connect),
            follow_redirects=True,
            event_hooks={"request": [guard]},
            trust_env=not _is_loopback(httpx2.URL(self.url).host),
        )

    def _attempt(self, client: httpx2.Client, show: Callable[[int], None]) -> None:
        # With a content encoding, a byte range would not be a range of the file.
        headers = {"Accept-Encoding": "identity", "User-Agent": "domain-masks"}
        if self.done and self.validator is None and self.file.checksum is None:
            self.clear()
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
            if self.validator is not None:
                headers["If-Range"] = self.validator
        with client.stream("GET", self.url, headers=headers) as response:
            self._check(response)
            self._receive(response, show)

    def _check(self, response: httpx2.Response) -> None:
        """Check the status and the headers; afterwards the body continues the downloaded part."""
        status, headers = response.status_code, response.headers
        if status in _RETRIED:
            wait = _number(headers.get("Retry-After")) or 0
            raise _BrokenOffError(f"the server answers {status} {response.reason_phrase}", wait)
        if status == 416 and self.done:
            self.clear()
            raise _BrokenOffError("the server has no bytes after those received")
        if status not in (200, 206):
            raise DownloadError(
                f"{response.url}: the server answers {status} {response.reason_phrase}. The file is not there (any more) or "
                "not for everybody; name a mirror that has it (--url)"
            )
        encoding = headers.get("Content-Encoding", "identity")
        is_page = headers.get("Content-Type", "").startswith("text/html")
        if encoding != "identity" or is_page:
            what = "a web page" if is_page else f"something encoded as {encoding}"
            raise DownloadError(f"{response.url}: expected the file {self.name}, got {what}; name a mirror (--url)")
        # A valid If-Range header: a strong entity tag, else the date of the last change.
        tag = headers.get("ETag", "")
        validator = tag if tag.startswith('"') else headers.get("Last-Modified")
        if status == 206:
            self._check_part(headers.get("Content-Range", ""), validator)
        else:
            if self.done:
                self.reporter.say(f"{self.name}: the file has changed, or the server cannot resume; from the beginning")
            self.clear()
            self._check_size(_number(headers.get("Content-Length")))
        self.validator = validator or self.validator
        write_json(self.note, {"url": self.url, "validator": self.validator})

    def _check_part(self, content_range: str, validator: str | None) -> None:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range.strip())
        total = _number(match[2]) if match else None
        is_same = (validator in (None, self.validator) or self.validator is None) and (
            total in (None, self.size) or self.size is None
        )
        if not self.done or not match or int(match[1]) != self.done or not is_same:
            self.clear()
            raise _BrokenOffError("the server sent another range than the requested one")
        self.resumed = True
        self._check_size(total)

    def _check_size(self, said: int | None) -> None:
        """Compare the server's size with the expected one; a checksum takes precedence."""
        known = self.file.size
        if said is not None and known is not None and said != known and self.file.checksum is None:
            raise DownloadError(f"{self.url}: expected {known:,} bytes, the server has {said:,}: the file has changed")
        if said is not None and known is None and said > self.file.most:
            raise DownloadError(f"{self.url}: expected at most {self.file.most:,} bytes, the server has {said:,}")
        self.size = known if known is not None else said

    def _receive(self, response: httpx2.Response, show: Callable[[int], None]) -> None:
        most = self.file.largest
        with self.part.open("ab") as file:
            for chunk in response.iter_raw():
                if self.done + len(chunk) > most:
                    self.clear()
                    raise DownloadError(
                        f"{self.url}: expected at most {most:,} bytes, got more; what came is removed. The file has "
                        "changed at its source, or the server is not the right one"
                    )
                file.write(chunk)
                # So that a killed process keeps the bytes that it received.
                file.flush()
                self.done += len(chunk)
                show(self.done)
        if self.size is not None and self.done < self.size:
            raise _BrokenOffError("the server closed the connection")


def _number(text: str | None) -> int | None:
    """Return a header's whole number; None for anything else."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None
