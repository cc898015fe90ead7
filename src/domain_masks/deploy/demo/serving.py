"""Serve a page on one address until it is interrupted, without a request to any other machine."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from domain_masks.errors import InputError

if TYPE_CHECKING:
    import uvicorn

    from domain_masks.deploy.demo.examples import Examples
    from domain_masks.deploy.predicting.model import Model

LARGEST = "64mb"
"""Largest file that the page takes."""
_OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_MCP_SERVER": "False",
}


def require_gradio() -> None:
    """Raise InputError, which says how to install it, where gradio is missing."""
    if importlib.util.find_spec("gradio") is None:
        raise InputError(
            "the page needs the library gradio: install the extra `demo` (pip install 'domain-masks[demo]')"
        )


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens on ``host`` and ``port``; 0 takes a free one.

    Raises InputError where the port is taken or may not be used, and where the address is none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise InputError(
            f"host {host!r}: there is no such address; expected 127.0.0.1, or one of this machine"
        ) from error
    opened = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            # A port whose last owner has just gone is free; on Windows this would take it from one that is there.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise InputError(_refusal(error, host, port)) from error
    return opened


def _refusal(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken, by another page or another program: give another --port, or 0 for a free one"
    if error.errno == errno.EACCES:
        return f"port {port} may not be used without special rights: give a --port from 1024, or 0 for a free one"
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"host {host!r} is none of this machine's addresses: expected 127.0.0.1, 0.0.0.0 for all, or one of its own"
        )
    return f"cannot listen on {host!r}, port {port}: {error.strerror or error}"


def is_loopback(opened: socket.socket) -> bool:
    """Whether only this machine can reach a socket."""
    return ip_address(opened.getsockname()[0].partition("%")[0]).is_loopback


def address_of(opened: socket.socket) -> str:
    """Return what to open in the browser of this machine."""
    host, port = opened.getsockname()[:2]
    if ip_address(host.partition("%")[0]).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def page_server(
    model: Model,
    examples: Examples,
    ensemble: str,
    opened: socket.socket,
    ready: Callable[[], None] = lambda: None,
) -> Iterator[uvicorn.Server]:
    """Give the server of a page, not started: ``server.run(sockets=[opened])``.

    ``ready`` is called once it answers. Uploaded files pass through a folder of their own, which is gone afterwards, with
    whatever an interruption has left in it.
    """
    with TemporaryDirectory(prefix="dmg-demo-") as folder, _environment({**_OFFLINE, "GRADIO_TEMP_DIR": folder}):
        # Only now, as gradio looks at the environment when it is imported.
        import gradio  # noqa: PLC0415
        import uvicorn  # noqa: PLC0415
        from fastapi import FastAPI  # noqa: PLC0415

        from domain_masks.deploy.demo.demo_page import STYLE, build_page, theme  # noqa: PLC0415

        @asynccontextmanager
        async def life(_: FastAPI) -> AsyncIterator[None]:
            ready()
            yield

        where = "this machine" if is_loopback(opened) else f"the machine {socket.gethostname()}"
        page = build_page(model, examples, ensemble, where)
        page.queue(api_open=False)
        app = gradio.mount_gradio_app(
            FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None),
            page,
            "/",
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            show_error=False,
            max_file_size=LARGEST,
            theme=theme(),
            css=STYLE.read_text(encoding="utf-8"),
        )
        yield uvicorn.Server(
            # Pages keep a connection open for as long as they are shown: nobody waits for them at the end.
            uvicorn.Config(app, log_config=None, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        )


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
