"""A stand-in for the Hugging Face hub on this machine: as much of its protocol as fetching and publishing need.

Repositories are made, files come in one commit (small ones inside it, large ones by the protocol of Git LFS) and are given
out by name and revision, with what the library looks at: entity tag, length and commit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest


@dataclass
class Repository:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, files: dict[str, bytes], branch: str = "main") -> str:
        before = self.commits.get(self.branches.get(branch, ""), {})
        commit = hashlib.sha1(f"{branch}{len(self.commits)}".encode()).hexdigest()
        self.commits[commit] = {**before, **files}
        self.branches[branch] = commit
        return commit


class Hub:
    """Repositories by name; every request is noted as (method, path)."""

    def __init__(self, token: str | None = None) -> None:
        self.repositories: dict[str, Repository] = {}
        self.token = token
        self.large: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.ranges: list[tuple[str, int]] = []
        """Path of a file of which a part was asked for, and the part's size."""
        self.claims: dict[str, int] = {}
        """Path of a file -> the size that the server says it has."""
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                with suppress(ConnectionError):
                    body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                    if self.headers.get("Transfer-Encoding") == "chunked":
                        body = b"".join(iter(self._piece, b""))
                    hub.requests.append((self.command, self.path))
                    status, headers, content = hub.answer(self, unquote(self.path.partition("?")[0]), body)
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(content)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(content)

            def _piece(self) -> bytes:
                size = int(self.rfile.readline(), 16)
                piece = self.rfile.read(size)
                self.rfile.readline()
                return piece

            do_GET = do_HEAD = do_POST = do_PUT = _any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def answer(  # noqa: PLR0911 - a line per address
        self, request: BaseHTTPRequestHandler, path: str, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        if found := re.fullmatch(
            r"/api/datasets/([^/]+/[^/]+?)(?:/(revision|tree|paths-info)/([^/]+)(?:/(.*))?)?", path
        ):
            return self._dataset(found, body)
        if found := re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(request, *found.groups())
        if found := re.fullmatch(r"/large/(\w+)", path):
            self.large[found[1]] = body
            return 200, {}, b""
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {"X-Error-Message": "Invalid user token."}, b"{}"
        content = json.loads(body) if body and "/commit/" not in path else {}
        if path == "/api/validate-yaml":
            is_yaml = content["content"].startswith("---\n")
            return _json(
                {"errors": [] if is_yaml else [{"message": "no metadata"}], "warnings": []}, 200 if is_yaml else 400
            )
        if path == "/api/repos/create":
            name = f"{content['organization'] or 'me'}/{content['name']}"
            private = content.get("private", content.get("visibility") == "private")
            status = 409 if name in self.repositories else 200
            self.repositories.setdefault(name, Repository(private=bool(private)))
            return _json({"url": f"{self.url}/{name}", "name": name}, status)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/(.+)", path):
            files = [
                {
                    "path": file["path"],
                    "shouldIgnore": False,
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                }
                for file in content["files"]
            ]
            return _json({"files": files})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**item, "actions": {"upload": {"href": f"{self.url}/large/{item['oid']}"}}}
                for item in content["objects"]
            ]
            return _json({"transfer": "basic", "objects": objects})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/(.+)", path):
            return self._commit(found[1], found[2], [json.loads(line) for line in body.splitlines()])
        return 404, {}, b"{}"

    def _dataset(self, found: re.Match[str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Answer what the library asks for to list the files of a dataset."""
        name, what, revision, folder = found[1], found[2], found[3] or "main", found[4] or ""
        repository = self.repositories.get(name)
        if repository is None:
            return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b"{}"
        commit = repository.branches.get(revision, revision)
        files = repository.commits.get(commit)
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}, b"{}"
        if what in (None, "revision"):
            siblings = [{"rfilename": file} for file in sorted(files)]
            return _json({"id": name, "sha": commit, "siblings": siblings, "tags": [], "private": False})
        entries = {
            file: {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for file, data in files.items()
        }
        folders = {str(parent): None for file in files for parent in PurePosixPath(file).parents if str(parent) != "."}
        entries |= {path: {"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in folders}
        if what == "paths-info":
            content = body.decode()
            asked = json.loads(content)["paths"] if content.startswith("{") else parse_qs(content)["paths"]
            return _json([entries[path] for path in asked if path in entries])
        below = f"{folder}/" if folder else ""
        return _json([entry for path, entry in sorted(entries.items()) if path.startswith(below)])

    def _commit(self, name: str, branch: str, lines: list[dict[str, Any]]) -> tuple[int, dict[str, str], bytes]:
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
                assert hashlib.sha256(files[value["path"]]).hexdigest() == value["oid"]
        commit = self.repositories[name].add(files, branch)
        return _json({"commitOid": commit, "commitUrl": f"{self.url}/{name}/commit/{commit}", "success": True})

    def _file(
        self, request: BaseHTTPRequestHandler, name: str, revision: str, file: str
    ) -> tuple[int, dict[str, str], bytes]:
        repository = self.repositories.get(name)
        hidden = repository is not None and repository.private and request.headers.get("Authorization") is None
        if repository is None or hidden:
            return 401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b""
        if repository.gated:
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}, b""
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}, b""
        data = repository.commits[commit].get(file)
        if data is None:
            return (
                404,
                {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": commit},
                b"",
            )
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or ""):
            first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
            self.ranges.append((request.path, last + 1 - first))
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return 206, headers, data[first : last + 1]
        if file in self.claims:
            headers["X-Linked-Size"] = str(self.claims[file])
        return 200, headers, data


def _json(content: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(content).encode()


@contextmanager
def hub_running(token: str | None = None) -> Iterator[Hub]:
    hub = Hub(token)
    thread = threading.Thread(target=hub.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.http.shutdown()
        hub.http.server_close()


@contextmanager
def hub_of_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Point huggingface_hub to a stand-in, with an empty cache below ``folder`` and no token."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub_running() as hub:
        # The library reads the environment once, when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        address = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield hub
