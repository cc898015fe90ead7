"""Serve the page on one address until interrupted, without requests to other machines."""

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
    from domain_masks.records.test_time import AtTestTime

LARGEST = "512mb"
"""Largest file that the page accepts: a ZIP file with many images."""
_OFFLINE = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_MCP_SERVER": "False",
}


def require_gradio() -> None:
    """Raise InputError with the install command if gradio is missing."""
    if importlib.util.find_spec("gradio") is None:
        raise InputError(
            "the page needs the library gradio: install the extra `demo` (pip install 'domain-masks[demo]')"
        )


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens on ``host`` and ``port``; 0 selects a free port.

    Raises InputError if the port is in use or not permitted, or the address does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise InputError(
            f"host {host!r} cannot be resolved: expected 127.0.0.1, or an address of this machine"
        ) from error
    opened = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            # Reuse a port in TIME_WAIT; on Windows this option would take over a port in use.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise InputError(_refusal(error, host, port)) from error
    return opened


def _refusal(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use by another program: give another --port, or 0 for a free one"
    if error.errno == errno.EACCES:
        return f"port {port} needs administrator rights: give a --port from 1024, or 0 for a free one"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"host {host!r} is not an address of this machine: expected 127.0.0.1, 0.0.0.0 for all, or one of its addresses"
    return f"cannot listen on {host!r}, port {port}: {error.strerror or error}"


def is_loopback(opened: socket.socket) -> bool:
    """Whether only this machine can reach a socket."""
    return ip_address(opened.getsockname()[0].partition("%")[0]).is_loopback


def address_of(opened: socket.socket) -> str:
    """Return the URL to open in a browser on this machine."""
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
    test_time: AtTestTime | None = None,
) -> Iterator[uvicorn.Server]:
    """Yield the server of a page, not yet started: ``server.run(sockets=[opened])``.

    - ``ready``: called when it accepts requests
    - ``test_time``: views of each image, see ``build_page``

    Uploaded files are stored in a temporary folder, which is deleted at the end.
    """
    with TemporaryDirectory(prefix="dmg-demo-") as folder, _environment({**_OFFLINE, "GRADIO_TEMP_DIR": folder}):
        # Imported here because gradio reads the environment on import.
        import gradio  # noqa: PLC0415
        import uvicorn  # noqa: PLC0415
        from fastapi import FastAPI  # noqa: PLC0415

        from domain_masks.deploy.demo.demo_page import STYLE, build_page, theme  # noqa: PLC0415

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            ready()
            yield

        where = "this machine" if is_loopback(opened) else f"the machine {socket.gethostname()}"
        page = build_page(model, examples, ensemble, where, test_time)
        page.queue(api_open=False)
        app = gradio.mount_gradio_app(
            FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None),
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
            # Open pages keep a connection: do not wait for them at shutdown.
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
