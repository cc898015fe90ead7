"""The start of commands, relative to importing torch and torchvision; in CPU seconds of processes of their own.

Python's bytecode is kept in a folder of the benchmark's own, which the warm-up fills: what is measured is not the first start
after an installation, and whether the environment writes bytecode makes no difference.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from timing import Budget, Conditions, Measurement, interleave

BASELINE = "import torch, torchvision"
COMMANDS = (
    ("--help",),
    ("train", "--help"),
    ("methods",),
    ("methods", "dmg"),
    ("data", "list"),
    ("completion", "bash"),
)
FAST_COMMANDS = (("--help",), ("methods",))
FIRST_STEP = """
import os, sys
from domain_masks.cli import main
from domain_masks.training.engine import TrainingEngine
update = TrainingEngine.update
def updated_once(self, *names):
    update(self, *names)
    os._exit(0)
TrainingEngine.update = updated_once
sys.exit(main(["train", "--device", "cpu", "--out", sys.argv[1], "--overwrite", "--quiet"]) or 1)
"""
"""Ends with status 0 after the first update only."""


def measure(conditions: Conditions) -> Iterator[Measurement]:
    """Yield the CPU seconds of commands that compute nothing, and of `dmg train` on the digits up to its first step."""
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(here / "bytecode")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def run(*words: str) -> Callable[[], None]:
            command = [sys.executable, *words]
            return lambda: _run(command, environment)

        calls = {BASELINE: run("-c", BASELINE)}
        for words in FAST_COMMANDS if conditions.fast else COMMANDS:
            calls[f"dmg {' '.join(words)}"] = run("-m", "domain_masks", *words)
        if not conditions.fast:
            calls["dmg train on the digits up to the first step"] = run("-c", FIRST_STEP, str(here / "run"))
        budget = Budget(conditions.budget.seconds, conditions.budget.rounds, max(1, conditions.budget.warm_up))
        seconds = interleave(calls, budget, conditions.device, cpu_seconds_of_children)
        for name, times in seconds.items():
            if name != BASELINE:
                yield Measurement(
                    f"CPU seconds of {name}",
                    f"those of {BASELINE}",
                    [taken / other for taken, other in zip(times, seconds[BASELINE], strict=True)],
                    f"{_median(times):.3g} against {_median(seconds[BASELINE]):.3g} s",
                )


def cpu_seconds_of_children() -> float:
    """Return the CPU seconds, user and system, of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _run(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, env=environment, check=True, capture_output=True)
