"""Waiting for long work of another process: patient while it lives, and no longer. Several processes: test_two_nodes.py."""

from __future__ import annotations

import threading
import time

import pytest
from lightning_fabric import Fabric
from torch.distributed import HashStore

from domain_masks.errors import InputError, LostProcessError
from domain_masks.training import waiting


def test_a_process_that_gives_signs_of_life_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "BEAT", 0.02)
    monkeypatch.setattr(waiting, "SILENCE", 1.0)
    store = HashStore()

    def work() -> None:
        with waiting._signs_of_life(store, "work/0/1"):
            time.sleep(2.0)
        store.set("work/0/1/done", "1")

    thread = threading.Thread(target=work)
    thread.start()
    began = time.monotonic()
    waiting._wait(store, "work/0/1", rank=1)
    thread.join()
    assert time.monotonic() - began > 1.5


def test_a_silent_process_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SILENCE", 0.3)
    with pytest.raises(LostProcessError, match=r"^process 2 of the run has given no sign of life"):
        waiting._wait(HashStore(), "work/0/1", rank=1)


def test_one_process_just_works() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    assert waiting.long_on_all(fabric, lambda: 3) == 3
    assert waiting.long_on_main_process(fabric, lambda: 4) == 4

    def fail() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no") as raised:
        waiting.long_on_each_node(fabric, fail)
    assert not raised.value.on_all_processes
