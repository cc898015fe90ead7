"""Freed memory is kept within a run on glibc, and nothing else is done elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from domain_masks.training import freed_memory
from domain_masks.training.freed_memory import freed_memory_kept

_FAULTS = """
import ctypes, resource, sys
from contextlib import nullcontext
from domain_masks.training.freed_memory import freed_memory_kept

def faults_of_a_second_round():
    def step():
        blocks = [bytearray(size << 20) for size in (1, 8, 40)]
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

outside = faults_of_a_second_round()
with freed_memory_kept():
    within = faults_of_a_second_round()
    kept = resident()
print(outside, within, kept, resident(), faults_of_a_second_round())
"""

glibc = pytest.mark.skipif(freed_memory._glibc() is None, reason="the C library is not glibc")


def faults(**environment: str) -> list[int]:
    own = {name: value for name, value in os.environ.items() if name not in freed_memory._OWN}
    result = subprocess.run(
        [sys.executable, "-c", _FAULTS], env={**own, **environment}, capture_output=True, text=True, check=True
    )
    return [int(number) for number in result.stdout.split()]


@glibc
def test_memory_is_kept_within_the_block_and_given_back_after_it() -> None:
    outside, within, kept, afterwards, later = faults()
    assert within < outside / 4
    assert kept - afterwards > 30 * 2**20
    assert later > outside / 4


@glibc
def test_an_environment_that_sets_the_parameters_decides() -> None:
    outside, within, *_ = faults(MALLOC_MMAP_MAX_="65536")
    assert within > outside / 4


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (None, "musl"):
        monkeypatch.setattr(os, "confstr", lambda _name, answer=answer: answer)
        assert freed_memory._glibc() is None

    def unknown(_name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", unknown)
    with freed_memory_kept():
        assert freed_memory._glibc() is None
    monkeypatch.delattr(os, "confstr")
    with freed_memory_kept():
        pass
