"""The demo served in a thread, for tests that open it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from domain_masks.deploy import Model
from domain_masks.deploy.demo.examples import find_examples
from domain_masks.deploy.demo.serving import address_of, listening, page_server
from domain_masks.records.test_time import AtTestTime


@dataclass(frozen=True)
class Served:
    address: str
    uploads: Callable[[], list[Path]]


@contextmanager
def served(model: Model, places: list[str], test_time: AtTestTime | None = None) -> Iterator[Served]:
    """Serve the page of a model in a thread, as ``dmg demo`` does in the main one; its own examples are no uploads."""
    ready = threading.Event()
    with (
        listening("127.0.0.1", 0) as opened,
        page_server(model, find_examples(model, places), "predictions", opened, ready.set, test_time) as server,
    ):
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()
        assert ready.wait(60)
        own = {path for path in folder.rglob("*") if path.is_file()}
        try:
            yield Served(
                address_of(opened), lambda: [path for path in folder.rglob("*") if path.is_file() and path not in own]
            )
        finally:
            server.should_exit = True
            thread.join(20)
    assert not folder.exists()
