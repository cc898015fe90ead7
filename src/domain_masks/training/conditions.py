"""What bitwise reproducibility depends on besides the settings: saved in checkpoints, restored or reported on resuming."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from domain_masks.records.config import RunConfig

Conditions = Mapping[str, str | int | bool]
"""Name -> value, as checkpoints keep them."""

THREADS, PROCESSES = "threads", "processes"
_PACKAGES = ("domain-masks", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")
_KERNELS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "OMP_THREAD_LIMIT",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
)
"""Environment variables that select the kernels of numerical libraries."""


def conditions(fabric: Fabric) -> dict[str, str | int | bool]:
    """Return the present conditions, which decide the order of sums and the kernels that compute them."""
    device = fabric.device
    values: dict[str, str | int | bool] = {
        PROCESSES: fabric.world_size,
        THREADS: torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})",
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "precision of products": torch.get_float32_matmul_precision(),
        "oneDNN": bool(torch.backends.mkldnn.enabled),
    }
    values |= {name: value for name in _KERNELS if (value := os.environ.get(name))}
    return values | _versions()


def set_threads(fabric: Fabric, config: RunConfig, parts: Sequence[Conditions]) -> None:
    """Use as many threads as the run has used so far, unless the configuration sets another number.

    All processes use the first one's number. Sums that are divided differently among threads differ in their last bits.

    - ``parts``: the conditions of the parts of the run so far, none for a new one
    """
    noted = parts[0].get(THREADS) if parts else None
    number = config.threads or noted or torch.get_num_threads()
    torch.set_num_threads(int(fabric.broadcast(number)))


def conditions_of(state: Mapping[str, Any]) -> list[Conditions]:
    """Return the conditions under which the parts of a run were computed, from its checkpoint; none of older versions."""
    noted = state.get("conditions")
    return [dict(part) for part in noted if isinstance(part, Mapping)] if isinstance(noted, Sequence) else []


def note(parts: Sequence[Conditions], here: Conditions) -> str | None:
    """Return a line on why a run resumed here is not bitwise equal to an uninterrupted one; None where it is.

    - ``parts``: the conditions so far; empty where an older version did not record them
    """
    if not parts:
        return (
            "note: an older version started this run and did not record its threads and libraries; it is resumed with "
            f"{here[THREADS]} threads, and ends bit for bit like one without a break only if nothing differs"
        )
    first = parts[0]
    names = [name for part in (*parts, here) for name in (*first, *part) if part.get(name) != first.get(name)]
    if not names:
        return None
    differing = [f"{name} ({' then '.join(_values(name, [*parts, here]))})" for name in dict.fromkeys(names)]
    return (
        f"note: resumed where something has changed: {', '.join(differing)}. The result is no longer bit for bit that of a "
        "run without a break"
    )


def add_part(parts: Sequence[Conditions], here: Conditions) -> list[Conditions]:
    """Return the conditions of the parts of a run and of the one that starts now, each once."""
    return [*parts, here] if here not in parts else list(parts)


def _values(name: str, parts: Iterable[Conditions]) -> list[str]:
    values: list[str] = []
    for part in parts:
        value = part.get(name, "none")
        text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
        if not values or values[-1] != text:
            values.append(text)
    return values


def _versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a folder of sources
            continue
    # The version of the running build, with its local suffix (+cu128).
    return versions | {"torch": str(torch.__version__)}


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
