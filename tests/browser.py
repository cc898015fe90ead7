"""A headless Chromium for tests of pages: the one that the system brings, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Visit:
    """An open page, and what it did: messages of the console, errors, and the addresses that it asked for."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Visiting = Callable[..., Any]
"""Opens an address in a window of a size and theme, as a context: ``with visit(address, width=390, theme="dark") as v``."""


@contextmanager
def browser() -> Iterator[Any]:
    """Start Chromium; skips the test, with the reason, where it or playwright is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no Chromium here: none of {', '.join(CHROMIUM)} is on the path")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(FLAGS), timeout=120_000)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def visit(
    started: Any, address: str | Path, width: int = 1280, height: int = 900, theme: str = "light"
) -> Iterator[Visit]:
    """Open an address, or a file, and note what the page complains about and asks for."""
    context = started.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
    try:
        seen = Visit(context.new_page())
        seen.page.on(
            "console",
            lambda message: seen.complaints.append(message.text) if message.type in ("error", "warning") else None,
        )
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(address.resolve().as_uri() if isinstance(address, Path) else address, timeout=120_000)
        yield seen
    finally:
        context.close()
