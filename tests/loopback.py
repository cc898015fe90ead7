"""A web server on this machine that behaves as badly as it is told to, and counts what it sends."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE = 1 << 14


@dataclass(frozen=True)
class Answer:
    """How one request is answered; by default as a good server does, with ranges and an entity tag.

    - ``status`` and ``headers``: sent in place of the file
    - ``stop_after``: bytes of the body after which the connection breaks off
    - ``hang_after``: bytes after which nothing comes any more
    - ``length``: what Content-Length claims; -1: no length, in chunks
    - ``content``: other bytes than the file's
    - ``content_range``: what Content-Range claims
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    stop_after: int | None = None
    hang_after: int | None = None
    length: int | None = None
    ranges: bool = True
    tag: bool = True
    content: bytes | None = None
    content_range: str | None = None
    endless: bool = False


class Server:
    """Files by path; ``script`` is used up request by request, then ``always`` holds."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.script: list[Answer] = []
        self.always = Answer()
        self.sent = 0
        self.requests: list[tuple[str, str | None]] = []
        self.stopped = threading.Event()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.requests]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with suppress(ConnectionError):
                    server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.requests.append((request.path, asked))
        answer = self.script.pop(0) if self.script else self.always
        request.close_connection = True
        data = self.files.get(request.path.lstrip("/")) if answer.content is None else answer.content
        if answer.status != 200 or data is None:
            request.send_response(404 if data is None else answer.status)
            for name, value in {"Content-Length": "0", "Connection": "close", **answer.headers}.items():
                request.send_header(name, value)
            request.end_headers()
            return
        tag = f'"{hashlib.sha256(data).hexdigest()}"'
        start, whole = 0, len(data)
        same = request.headers.get("If-Range") in (None, tag)
        if asked and answer.ranges and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            if start >= whole:
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{whole}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            given = answer.content_range or f"bytes {start}-{whole - 1}/{whole}"
            request.send_header("Content-Range", given)
        else:
            request.send_response(200)
        body = data[start:]
        if answer.length == -1 or answer.endless:
            request.send_header("Transfer-Encoding", "chunked")
        else:
            request.send_header("Content-Length", str(len(body) if answer.length is None else answer.length))
        request.send_header("Connection", "close")
        if answer.tag:
            request.send_header("ETag", tag)
        for name, value in answer.headers.items():
            request.send_header(name, value)
        request.end_headers()
        self._send(request, body, answer)

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, answer: Answer) -> None:
        chunked = answer.length == -1 or answer.endless
        end = min(x for x in (answer.stop_after, answer.hang_after, len(body)) if x is not None)
        at = 0
        while at < end or (answer.endless and not self.stopped.is_set()):
            piece = body[at : min(at + _PIECE, end)] if at < end else bytes(_PIECE)
            request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            self.sent += len(piece)
            at += len(piece)
        request.wfile.flush()
        if answer.hang_after is not None:
            self.stopped.wait(30)
        elif chunked and end == len(body):
            request.wfile.write(b"0\r\n\r\n")


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    server = Server(files)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.http.shutdown()
        server.http.server_close()


def wait_until(condition: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen")
        time.sleep(0.01)
