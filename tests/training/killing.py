"""Runs that are killed: a process that has imported everything forks a run as often as it is told to, and kills it.

Run as a script: ``killing.py FOLDER SETTINGS KILLS`` with SETTINGS as JSON; prints a JSON of what came out.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import generated
from domain_masks.errors import RunFolderError
from domain_masks.progress import ConsoleReporter
from domain_masks.records import MetricsLog, Predictions, RunFolder
from domain_masks.records.config import parse_config
from domain_masks.training import run
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.frozen_features import FrozenFeatures

TIMES = ("seconds", "images_per_second")


class Fuse:
    """Kills this process at the n-th moment at which something could be half done; counts them where n is None."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.count = 0

    def __call__(self) -> None:
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def lay(self) -> None:
        """Put a moment before and after each change of the disk and of the weights, and in the middle of each file."""
        for owner, name in (
            (os, "fsync"),
            (os, "open"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (Path, "touch"),
            (TrainingEngine, "update"),
            (TrainingEngine, "average_buffers"),
        ):
            setattr(owner, name, self._around(getattr(owner, name)))
        write, chunks = Path.write_bytes, FrozenFeatures._chunks

        def half_and_half(path: Path, data: Any) -> int:
            self()
            with path.open("wb") as file:
                file.write(bytes(data)[: len(data) // 2])
            self()
            return write(path, data)

        def chunk_by_chunk(features: FrozenFeatures, *arguments: Any) -> Iterator[Any]:
            for chunk in chunks(features, *arguments):
                self()
                yield chunk

        Path.write_bytes = half_and_half  # type: ignore[method-assign, assignment]
        FrozenFeatures._chunks = chunk_by_chunk  # type: ignore[method-assign]

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def fused(*arguments: Any, **options: Any) -> Any:
            self()
            result = function(*arguments, **options)
            self()
            return result

        return fused


def fingerprint(folder: RunFolder) -> dict[str, str]:
    """Return what must be equal: weights, predictions, and the metrics but for the times."""
    predictions = Predictions.load(folder.predictions)
    rows = [
        {name: value for name, value in row.items() if name not in TIMES} for row in MetricsLog(folder.metrics).read()
    ]
    results = {name: value for name, value in json.loads(folder.results.read_text()).items() if name not in TIMES}
    return {
        "model": hashlib.sha256(folder.model.read_bytes()).hexdigest(),
        "predictions": hashlib.sha256(predictions.of("predictions").tobytes()).hexdigest(),
        "metrics": json.dumps(rows),
        "results": json.dumps(results),
    }


class Runs:
    """Starts the same run again and again, each in a process of its own."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.config = parse_config({**generated.SETTINGS, **settings})
        self.dataset = generated.dataset(10)

    def start(self, name: str, fuse: int | None = None, count: Path | None = None) -> int:
        """Fork a run, or the rest of one, in the folder ``name``; returns the process."""
        process = os.fork()
        if process:
            return process
        status = 70
        try:
            os.environ["DMG_CACHE"] = str(self.folder / f"{name}-cache")
            out = self.folder / name
            out.mkdir(exist_ok=True, parents=True)
            laid = Fuse(fuse)
            if fuse is not None or count is not None:
                laid.lay()
            run(self.config, out, resume=True, dataset=self.dataset, reporter=ConsoleReporter(quiet=True))
            if count is not None:
                with count.open("w") as file:
                    file.write(str(laid.count))
            status = 0
        except RunFolderError:
            traceback.print_exc()
            status = 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    @staticmethod
    def end(process: int) -> int:
        """Wait for a process; returns its exit status, negative where a signal ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def whole(self, name: str) -> dict[str, str]:
        """Carry a run to its end; returns its fingerprint."""
        if status := self.end(self.start(name)):
            raise SystemExit(f"the run {name} ended with {status}")
        return fingerprint(RunFolder(self.folder / name))


def main(folder: str, settings: str, kills: str) -> None:
    """Kill at chosen moments, then by the clock, and print how often, and what differed in the end."""
    runs = Runs(Path(folder), json.loads(settings))
    began = time.monotonic()
    expected = runs.whole("undisturbed")
    duration = time.monotonic() - began
    counted = runs.folder / "moments"
    if runs.end(runs.start("counted", count=counted)):
        raise SystemExit("the counted run failed")
    moments = int(counted.read_text())
    wanted, chance = int(kills), random.Random(0)
    chosen = sorted(chance.sample(range(moments), min(wanted, moments)))
    differing, unkilled = [], []
    for moment in chosen:
        name = f"moment-{moment}"
        if runs.end(runs.start(name, fuse=moment)) != -signal.SIGKILL:
            unkilled.append(moment)
        if runs.whole(name) != expected:
            differing.append(moment)
    by_clock = 0
    for number in range(max(1, wanted // 10)):
        name = f"clock-{number}"
        for _ in range(8):
            process = runs.start(name)
            time.sleep(chance.uniform(0, duration))
            os.kill(process, signal.SIGKILL)
            by_clock += runs.end(process) == -signal.SIGKILL
        if runs.whole(name) != expected:
            differing.append(-number - 1)
    print(
        json.dumps(
            {
                "moments": moments,
                "killed": len(chosen) - len(unkilled),
                "unkilled": unkilled,
                "by_clock": by_clock,
                "differing": differing,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
