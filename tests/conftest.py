"""What all tests share: no cache of the user's is touched, and where the real data lie."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMG_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_the_foreground() -> None:
    # Started in the background, as by nohup or some CI, Ctrl-C is ignored, also by every process that a test starts.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    # Here and in what tests start, on every machine: other numbers end in other last bits, and threads that wait for a core
    # by spinning slow all others down.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def real_data() -> Path:
    root = Path(os.environ.get("DMG_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data").resolve()
    if not (root / "pacs").is_dir():
        pytest.skip("PACS is not here: set DMG_DATA to the folder that holds it")
    return root


def pytest_xdist_auto_num_workers() -> int:
    """How many processes ``pytest -n auto`` starts: a test holds up to 1 GiB, so no more than 8."""
    return min(8, _cores())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
