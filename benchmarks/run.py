"""Time this package against the bare network and the slow formulation: `python benchmarks/run.py --help`.

Every line names the measurement, the median [25 %–75 %] of the rounds' ratios, and the baseline. Ratios are quoted; the
absolute times in brackets depend on the machine.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BENCHMARKS = ("masks", "ensemble", "augmenting", "loading", "predict", "folding", "start", "index", "episodes", "costs")
"""Modules beside this one, each with ``measure(conditions)``; last the one of most comparisons, which has what time is left."""
NAMED_ONLY = ("formats", "allocator")
"""Modules that run only where they are named, as they alone take minutes."""
_NAMES = ", ".join(BENCHMARKS + NAMED_ONLY)
_MEASURING = 0.8
"""Share of a benchmark's time for the rounds; the rest is for building networks, images and the warm-up."""

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
_PACS_FOLDERS = ("pacs", "PACS", "art_painting")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(
        description="Time this package against the bare network and the slow formulation, interleaved in one process.",
        epilog="example: python benchmarks/run.py ensemble --seconds 120 --markdown",
    )
    result.add_argument(
        "names", nargs="*", metavar="NAME", help=f"among {_NAMES}; default: all but {', '.join(NAMED_ONLY)}"
    )
    result.add_argument(
        "--minutes", type=_positive, default=8.0, help="for all benchmarks together, or three rounds of each; default 8"
    )
    result.add_argument("--seconds", type=_positive, help="for each benchmark, or five rounds; overrides --minutes")
    result.add_argument("--fast", action="store_true", help="smoke run: small, two rounds; the numbers mean nothing")
    result.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    result.add_argument(
        "--root", help="PACS's folder or its parent; default: $DMG_DATA, without PACS there generated images"
    )
    result.add_argument("--compile", action="store_true", help="measure training steps by torch.compile as well")
    result.add_argument("--markdown", action="store_true", help="print a table for docs/performance.md at the end")
    return result


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a time above 0, got {text!r}")
    return value


def pacs_root(root: str | None) -> str | None:
    """Return the folder of PACS: ``root`` if it is set, else $DMG_DATA or ../shared/data; None where these do not have it."""
    if root is not None:
        return root
    folder = Path(os.environ.get("DMG_DATA") or _BESIDE)
    return str(folder) if any((folder / name).is_dir() for name in _PACS_FOLDERS) else None


def share_of(seconds_left: float, benchmarks_left: int) -> float:
    """Return the seconds that the next benchmark measures for, so that all end in time: what one saves, the later ones have."""
    return max(0.0, _MEASURING * seconds_left / benchmarks_left)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmarks; returns the exit status, 0 or 2 for a device or dataset that is not there."""
    command = parser()
    chosen = command.parse_args(arguments)
    for name in chosen.names:
        if name not in BENCHMARKS + NAMED_ONLY:
            command.error(f"unknown benchmark {name!r}: expected one of {_NAMES}")
    import torch  # noqa: PLC0415

    from domain_masks.errors import DomainMasksError  # noqa: PLC0415
    from domain_masks.records.config import parse_config  # noqa: PLC0415
    from domain_masks.training.launching import launch  # noqa: PLC0415
    from timing import Budget, Conditions, as_line, as_table  # noqa: PLC0415

    measured = []
    try:
        conditions = Conditions(
            Budget(0.0, rounds=2, warm_up=1) if chosen.fast else Budget(chosen.seconds or 0.0),
            launch(parse_config({"device": chosen.device})).device,
            chosen.fast,
            pacs_root(chosen.root),
            chosen.compile,
        )
        machine = f"torch {torch.__version__}, {_processor(conditions.device)}"
        print(f"{machine}{'; smoke run, the numbers mean nothing' if chosen.fast else ''}")
        names = chosen.names or BENCHMARKS
        ends = time.monotonic() + 60 * chosen.minutes
        for place, name in enumerate(names):
            print(f"\n{name}", flush=True)
            if not chosen.fast and chosen.seconds is None:
                left = share_of(ends - time.monotonic(), len(names) - place)
                conditions = replace(conditions, budget=Budget(left, rounds=3, warm_up=1))
            for measurement in importlib.import_module(name).measure(conditions):
                measured.append(measurement)
                print(f"  {as_line(measurement)}", flush=True)
    except DomainMasksError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    if chosen.markdown:
        print(f"\n{machine}\n", *as_table(measured), sep="\n")
    return 0


def _processor(device: torch.device) -> str:
    import torch  # noqa: PLC0415

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    sys.exit(main())
