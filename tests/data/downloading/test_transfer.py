"""One file over HTTP, from servers that break off, lie, change their mind or hang."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain_masks.data.downloading import transfer
from domain_masks.data.downloading.sources import RemoteFile
from domain_masks.data.downloading.transfer import Patience, fetch
from domain_masks.errors import DownloadError
from loopback import Answer, Server, serving, wait_until

DATA = random.Random(0).randbytes(200_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
HURRY = Patience(connect=2, read=0.5, breaks=3, first_wait=0.001, longest_wait=2)


class Lines:
    """A reporter that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def track(self, items: object, total: int, what: str) -> object:
        return iter(items)  # type: ignore[call-overload]

    def measure(self, what: str, total: int | None) -> object:
        return nullcontext(lambda done: None)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"a.zip": DATA}) as running:
        yield running


def get(server: Server, folder: Path, patience: Patience = HURRY, **wanted: object) -> str:
    settings = {"most": len(DATA) + 1000, "checksum": f"sha256:{SHA256}", "size": len(DATA), **wanted}
    file = RemoteFile("a.zip", None, **settings)  # type: ignore[arg-type]
    checksum = fetch(f"{server.url}/a.zip", file, folder / "a.zip", Lines(), patience)  # type: ignore[arg-type]
    assert checksum in (f"sha256:{hashlib.sha256((folder / 'a.zip').read_bytes()).hexdigest()}", settings["checksum"])
    return SHA256 if checksum == f"md5:{MD5}" else checksum.removeprefix("sha256:")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    "wanted",
    [{}, {"size": None}, {"checksum": None}, {"size": None, "checksum": None}, {"checksum": f"md5:{MD5}"}],
    ids=str,
)
@pytest.mark.parametrize("answer", [Answer(), Answer(length=-1)], ids=["length", "chunks"])
def test_a_file_arrives_and_nothing_else_stays(
    server: Server, tmp_path: Path, wanted: dict[str, object], answer: Answer
) -> None:
    server.always = answer
    assert get(server, tmp_path, **wanted) == SHA256
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert names(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("wanted", [{}, {"size": None, "checksum": None}], ids=["known", "unknown"])
def test_a_transfer_that_breaks_off_several_times_goes_on(
    server: Server, tmp_path: Path, wanted: dict[str, object]
) -> None:
    server.script = [Answer(stop_after=50_000), Answer(stop_after=0), Answer(stop_after=70_000)]
    assert get(server, tmp_path, **wanted) == SHA256
    assert server.ranges == [None, "bytes=50000-", "bytes=50000-", "bytes=120000-"]
    assert server.sent == len(DATA)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(0, 90_000), max_size=3), kinds=st.lists(st.booleans(), min_size=3, max_size=3))
def test_wherever_it_breaks_the_bytes_are_right(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], kinds: list[bool]
) -> None:
    with serving({"a.zip": DATA}) as server:
        server.script = [Answer(stop_after=stop, ranges=ranges) for stop, ranges in zip(stops, kinds, strict=False)]
        folder = tmp_path_factory.mktemp("fetched")
        assert get(server, folder) == SHA256
        assert (folder / "a.zip").read_bytes() == DATA


def test_a_progressing_transfer_may_break_off_more_often_than_a_stuck_one(server: Server, tmp_path: Path) -> None:
    server.always = Answer(stop_after=10_000)
    assert get(server, tmp_path, Patience(breaks=1, first_wait=0, worthwhile=10_000)) == SHA256
    assert len(server.requests) == 20


def test_a_server_that_breaks_off_too_often_ends_with_one_message_and_the_part_is_kept(
    server: Server, tmp_path: Path
) -> None:
    server.always = Answer(stop_after=0)
    server.script = [Answer(stop_after=50_000)]
    with pytest.raises(DownloadError, match=r"in 4 attempts.*50\.0 kB of 200\.0 kB are kept"):
        get(server, tmp_path)
    assert (tmp_path / "a.zip.part").read_bytes() == DATA[:50_000]
    server.always = Answer()
    server.sent = 0
    assert get(server, tmp_path) == SHA256
    assert server.sent == 150_000


@pytest.mark.parametrize("checksum", [f"sha256:{SHA256}", None])
def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path, checksum: str | None) -> None:
    server.always = Answer(ranges=False)
    server.script = [Answer(stop_after=50_000)]
    assert get(server, tmp_path, checksum=checksum) == SHA256
    assert server.ranges == [None, "bytes=50000-"]


def test_a_server_without_ranges_that_always_breaks_off_does_not_go_on_for_ever(server: Server, tmp_path: Path) -> None:
    server.always = Answer(ranges=False, stop_after=150_000)
    with pytest.raises(DownloadError, match="attempts"):
        get(server, tmp_path, Patience(breaks=3, first_wait=0, worthwhile=50_000))
    assert len(server.requests) == 4


def test_without_tag_and_checksum_nothing_is_pieced_together(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(stop_after=50_000, tag=False)]
    assert get(server, tmp_path, checksum=None) == SHA256
    assert server.ranges == [None, None]


def test_a_part_without_a_tag_of_its_own_belongs_to_the_tag_before(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(stop_after=50_000), Answer(stop_after=30_000, tag=False)]
    assert get(server, tmp_path, checksum=None) == SHA256
    assert server.ranges == [None, "bytes=50000-", "bytes=80000-"]


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_changes_between_attempts_comes_whole(server: Server, tmp_path: Path, known: bool) -> None:
    server.script = [Answer(content=bytes(len(DATA)), stop_after=50_000)]
    assert get(server, tmp_path, checksum=f"sha256:{SHA256}" if known else None) == SHA256
    assert server.ranges == [None, "bytes=50000-"]


def test_parts_of_two_files_are_noticed_by_the_checksum_and_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.always = Answer(tag=False)
    server.script = [Answer(content=bytes(len(DATA)), stop_after=50_000, tag=False)]
    assert get(server, tmp_path) == SHA256
    assert server.ranges == [None, "bytes=50000-", None]


def test_a_wrong_checksum_names_both_and_removes_what_came(server: Server, tmp_path: Path) -> None:
    server.always = Answer(content=bytes(len(DATA)))
    zeros = hashlib.sha256(bytes(len(DATA))).hexdigest()
    with pytest.raises(DownloadError, match=f"expected sha256:{SHA256}, got sha256:{zeros}"):
        get(server, tmp_path)
    assert names(tmp_path) == []
    assert len(server.requests) == 1


def test_a_claimed_length_that_is_too_long_ends_with_a_message(server: Server, tmp_path: Path) -> None:
    server.always = Answer(length=300_000)
    with pytest.raises(DownloadError, match=r"a\.zip: could not be fetched whole"):
        get(server, tmp_path, size=None, checksum=None, most=400_000)
    assert server.ranges[0] is None


def test_the_size_in_the_table_wins_over_a_claimed_length_that_is_too_long(server: Server, tmp_path: Path) -> None:
    server.always = Answer(length=300_000)
    assert get(server, tmp_path) == SHA256
    assert server.sent == len(DATA)


def test_the_size_in_the_table_wins_over_a_claimed_length_that_is_too_short(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(length=80_000)]
    assert get(server, tmp_path) == SHA256
    assert server.ranges == [None, "bytes=80000-"]


@pytest.mark.parametrize(
    ("answer", "wanted", "words"),
    [
        (Answer(content=DATA + b"more"), {}, "at most 200,000 bytes, got more"),
        (Answer(content=DATA + b"more", length=-1), {"checksum": None}, "at most 200,000 bytes, got more"),
        (Answer(content=DATA + b"more"), {"checksum": None}, "expected 200,000 bytes, the server has 200,004"),
        (Answer(), {"size": None, "most": 1000}, "at most 1,000 bytes, the server has 200,000"),
        (Answer(endless=True), {"size": None}, "at most 201,000 bytes, got more"),
        (Answer(endless=True), {}, "at most 200,000 bytes, got more"),
        (Answer(status=404), {}, "answers 404"),
        (Answer(status=403), {}, "answers 403"),
        (Answer(status=500), {}, "in 4 attempts: the server answers 500"),
        (Answer(status=429), {}, "in 4 attempts: the server answers 429"),
        (Answer(status=429, headers={"Retry-After": "3600"}), {}, "in 1 attempts.*asks to wait 3600 seconds"),
        (Answer(headers={"Content-Type": "text/html; charset=utf-8"}), {}, "got a web page"),
        (Answer(headers={"Content-Encoding": "gzip"}), {}, "encoded as gzip"),
        (Answer(status=302, headers={"Location": "/a.zip"}), {}, "leads nowhere"),
        (Answer(status=302, headers={"Location": "http://example.org/a.zip"}), {}, "begins with https"),
        (Answer(status=302, headers={"Location": "file:///etc/passwd"}), {}, "begins with https"),
        (Answer(hang_after=1000), {}, "in 4 attempts"),
        (Answer(stop_after=0), {}, "in 4 attempts"),
    ],
)
def test_what_cannot_be_fetched_ends_with_one_message(
    server: Server, tmp_path: Path, answer: Answer, wanted: dict[str, object], words: str
) -> None:
    server.always = answer
    patience = Patience(connect=2, read=0.1, breaks=3, first_wait=0.001, longest_wait=2)
    with pytest.raises(DownloadError, match=words) as caught:
        get(server, tmp_path, patience, **wanted)
    assert str(caught.value).startswith("http")
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    "first",
    [
        Answer(status=500),
        Answer(status=503, headers={"Retry-After": "0"}),
        Answer(status=302, headers={"Location": "/a.zip"}),
        Answer(hang_after=40_000),
    ],
)
def test_passing_trouble_passes(server: Server, tmp_path: Path, first: Answer) -> None:
    server.script = [first]
    assert get(server, tmp_path) == SHA256


def test_the_server_is_given_the_time_that_it_asks_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(
        transfer, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waited.append, time=time.time)
    )
    server.script = [Answer(status=429, headers={"Retry-After": "2"}), Answer(status=500), Answer(status=500)]
    get(server, tmp_path, Patience(breaks=3, first_wait=0.25))
    assert waited == [2, 0.5, 1]


@pytest.mark.parametrize("given_range", ["bytes 0-199999/200000", "bytes 50000-199999/300000", "rubbish"])
def test_another_part_than_the_one_asked_for_is_not_used(server: Server, tmp_path: Path, given_range: str) -> None:
    server.script = [Answer(stop_after=50_000), Answer(content_range=given_range)]
    assert get(server, tmp_path, checksum=None) == SHA256
    assert server.ranges == [None, "bytes=50000-", None]


def test_no_bytes_after_those_that_came_means_from_the_beginning(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(bytes(150_000))
    server.files["a.zip"] = DATA[:100_000]
    digest = hashlib.sha256(DATA[:100_000]).hexdigest()
    assert get(server, tmp_path, size=None, checksum=f"sha256:{digest}") == digest
    assert server.ranges == ["bytes=150000-", None]


def test_a_part_that_is_whole_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(DATA)
    assert get(server, tmp_path) == SHA256
    assert server.requests == []
    assert names(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("left", [DATA + b"more", bytes(len(DATA)), b""])
def test_a_part_that_cannot_be_right_is_dropped(server: Server, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "a.zip.part").write_bytes(left)
    assert get(server, tmp_path) == SHA256


def test_a_note_that_is_damaged_is_no_note(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(DATA[:1000])
    (tmp_path / "a.zip.part.json").write_text('{"url": ')
    assert get(server, tmp_path, checksum=None) == SHA256
    assert server.ranges == [None]


def test_a_note_of_another_address_is_not_used(server: Server, tmp_path: Path) -> None:
    server.always = Answer(stop_after=0)
    server.script = [Answer(stop_after=1000)]
    with pytest.raises(DownloadError):
        get(server, tmp_path, checksum=None)
    with serving({"a.zip": bytes(len(DATA))}) as other:
        assert get(other, tmp_path, checksum=None) == hashlib.sha256(bytes(len(DATA))).hexdigest()
        assert other.ranges == [None]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def full(path: Path, mode: str = "r", buffering: int = -1, **rest: object) -> object:
        file = opened(path, mode, buffering, **rest)  # type: ignore[call-overload]
        return opened(Path("/dev/full"), "wb", 0) if mode == "ab" else file

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left"):
        get(server, tmp_path)


@pytest.mark.parametrize(
    "url",
    ["http://example.org/a.zip", "ftp://example.org/a.zip", "file:///etc/passwd", "a.zip", "", "https://", "http://[x"],
)
def test_addresses_that_are_not_fetched_from(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="https://"):
        fetch(url, RemoteFile("a.zip", url, most=1), tmp_path / "a.zip", Lines(), HURRY)


CHILD = """
import sys
from pathlib import Path
from domain_masks.data.downloading.sources import RemoteFile
from domain_masks.data.downloading.transfer import fetch
from domain_masks.progress import ConsoleReporter
url, folder = sys.argv[1:]
print(fetch(url, RemoteFile("a.zip", url, most=10**6), Path(folder) / "a.zip", ConsoleReporter()))
"""


def test_a_killed_transfer_goes_on_without_sending_the_first_part_again(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(hang_after=120_000)]
    command = [sys.executable, "-c", CHILD, f"{server.url}/a.zip", str(tmp_path)]
    process = subprocess.Popen(command, env=dict(os.environ))
    part = tmp_path / "a.zip.part"
    wait_until(lambda: part.is_file() and part.stat().st_size == 120_000, 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.sent = 0
    before = time.monotonic()
    assert get(server, tmp_path, size=None, checksum=None) == SHA256
    assert time.monotonic() - before < 10
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.sent == 80_000
    assert server.ranges == [None, "bytes=120000-"]
