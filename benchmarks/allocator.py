"""Steps and predictions on a CPU where glibc keeps the memory that is freed, relative to its defaults.

By default glibc takes every block of more than 32 MB from the system and gives it back, so that the system zeroes its pages
anew for every tensor. Each side has a process of its own, as the settings are read when a process starts.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import torch

from timing import Budget, Conditions, Measurement, compare, interleave

KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
WORKLOADS = (
    ("training step", "mobilenet_v2", 112, 64),
    ("training step", "resnet18", 112, 64),
    ("prediction ensemble", "mobilenet_v2", 224, 64),
    ("prediction ensemble", "resnet18", 224, 64),
)
FAST_WORKLOADS = (("training step", "small", 32, 12),)
WORK = """
import resource, sys
import torch
from steps import MethodStep, Workload, build
kind, backbone, pixels, batch, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
device = torch.device("cpu")
workload = Workload(backbone, int(pixels), int(batch))
method = build(workload, "dmg", device)
rows = workload.domain_batch(device)
if kind == "training step":
    step = MethodStep(workload, method, device)
    work = lambda: step(rows)
else:
    method.eval()
    work = torch.inference_mode()(lambda: method.predict(rows))
for _ in sys.stdin:
    work()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
"""
"""Does its work once for every line that it reads, and prints the peak of its resident memory."""


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield time and peak memory for every workload; nothing where the C library is not glibc, or on a GPU."""
    if platform.libc_ver()[0] != "glibc" or conditions.device.type != "cpu":
        return
    workloads = FAST_WORKLOADS if conditions.fast else WORKLOADS
    for workload in workloads:
        yield from _both(workload, conditions.budget.share(len(workloads)), conditions)


def _both(workload: tuple[str, str, int, int], budget: Budget, conditions: Conditions) -> Iterator[Measurement]:
    peaks: dict[str, float] = {}
    with ExitStack() as stack:
        words = [*map(str, workload), str(torch.get_num_threads())]
        calls = {
            name: _call(stack, name, words, settings, peaks) for name, settings in {"kept": KEPT, "plain": {}}.items()
        }
        seconds = interleave(calls, budget, conditions.device)
    kind, backbone, pixels, batch = workload
    named = f"{kind} where freed memory is kept ({backbone}, {pixels} px, batch {batch})"
    yield compare(named, "glibc's defaults", seconds, "kept", "plain")
    yield Measurement(
        f"peak memory of the same {kind}",
        "glibc's defaults",
        [peaks["kept"] / peaks["plain"]],
        f"{peaks['kept'] / 1024:.0f} against {peaks['plain'] / 1024:.0f} MiB",
    )


def _call(
    stack: ExitStack, name: str, words: list[str], settings: dict[str, str], peaks: dict[str, float]
) -> Callable[[], None]:
    plain = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD"))
    }
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", WORK, *words],
            cwd=Path(__file__).parent,
            env=plain | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    if process.stdin is None or process.stdout is None:
        raise ValueError("expected a process with pipes")
    reading, writing = process.stdout, process.stdin

    def work() -> None:
        writing.write("\n")
        writing.flush()
        answer = reading.readline().split()
        if not answer:
            raise ValueError(f"expected a {words[0]}: the process ended with status {process.wait()}")
        peaks[name] = float(answer[0])

    return work
