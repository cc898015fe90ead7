"""What a GPU does with this package, in about 15 minutes: `python benchmarks/gpu.py --root PACK --weights FILE --out DIR`.

Three parts, each printed and written to ``DIR/gpu.json`` and ``DIR/gpu.csv`` as it ends, so that nothing is lost when time is:

1. ``speed``: images per second in training and predicting, DMG against the bare network, and both against what the card can do;
   how long the kernels of a step take alone, as the rest of a step is the host's; synchronisations per step; memory of a step
2. ``pacs``: DMG and Aggregate on PACS, every domain held out (``configs/evidence/table-2.yaml``), several runs at once
3. ``modes``: half precision, synchronised batch norm, and runs that are resumed bit for bit in deterministic mode

``--fast`` is a smoke run for a CPU, whose numbers mean nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

# cuBLAS reads it when it is first used; deterministic runs in this process need it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from domain_masks.batch import DomainBatch, HostRows
from domain_masks.methods import METHODS, Method
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import RunConfig, parse_config
from domain_masks.training import run
from domain_masks.training.backbone_builder import synchronised
from domain_masks.training.launching import launch
from steps import MethodStep, Workload, bare_step, build
from timing import Budget, compare, interleave

Record = dict[str, Any]
NETWORKS = ("resnet18", "resnet50", "mobilenet_v2")
FAST_NETWORKS = ("small",)
QUEUED = 10
"""Training steps between two synchronisations."""
PROFILED = 5
"""Steps over which the work of a step on the GPU is averaged."""
PROTOCOL = Path(__file__).parents[1] / "configs/evidence/table-2.yaml"
RESUMED = ("dmg", "aggregate", "multi_headed", "mixstyle", "dann", "masf", "coral")
"""Methods whose runs are resumed in deterministic mode: one optimiser, several, random partners, episodes, gathered rows."""
HALF = ({}, {"clip": 1.0}, {"accumulate": 2}, {"average": "ema"}, {"method": "dann"})
"""Settings under which a gradient scaler could go wrong."""


class CountedBytes(TorchDispatchMode):
    """Adds up the bytes that the operations within the block read and write, each by itself, without fusion."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count its tensors; views move nothing."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.total += sum(map(_bytes, (*args, *(kwargs or {}).values(), result)))
        return result


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes, value)) if isinstance(value, tuple | list) else 0


def synchronisations(step: Callable[[], object], device: torch.device) -> int | None:
    """Return how often ``step`` makes the host wait for the GPU; None where there is none."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    # The mode's first use warns of the mode itself, too.
    return sum("called a synchronizing" in str(one.message) for one in seen)


def peak_memory(step: Callable[[], object], device: torch.device) -> int | None:
    """Return the most bytes that a step had allocated; None without a GPU."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


def device_work(step: Callable[[], object], device: torch.device) -> tuple[float, float] | None:
    """Return the seconds that a step's kernels and copies take on the GPU, and their number; None where there is none."""
    if device.type != "cuda":
        return None
    step()
    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
        _repeat(step, PROFILED)
        torch.cuda.synchronize(device)
    on_device = [one for one in profiled.key_averages() if one.device_type == DeviceType.CUDA]
    work = [one for one in on_device if not one.is_user_annotation]
    return (
        sum(one.self_device_time_total for one in work) / 1e6 / PROFILED,
        sum(one.count for one in work) / PROFILED,
    )


def limits(device: torch.device, side: int) -> tuple[float, float]:
    """Return the measured rate of a product of matrices in bf16, operations per second, and of copying, bytes per second."""
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    source = torch.empty(side * side * 8, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    calls = {"product": lambda: matrix @ matrix, "copy": lambda: target.copy_(source)}
    seconds = interleave(calls, Budget(0.0, rounds=10, warm_up=3), device)
    return 2 * side**3 / min(seconds["product"]), 2 * source.numel() / min(seconds["copy"])


def speed(device: torch.device, fast: bool, networks: Sequence[str], rounds: int = 30) -> Iterator[Record]:
    """Yield a record for each network, eager and compiled: of training and of predicting."""
    rates = limits(device, 256 if fast else 8192)
    yield {"part": "speed", "what": "limits", "operations_per_second": rates[0], "bytes_per_second": rates[1]}
    for compiled in (False,) if fast else (False, True):
        for name in networks:
            workload = Workload(name, 32, 8) if fast else Workload(name, 224, 128)
            budget = Budget(0.0, rounds=2, warm_up=1) if fast else Budget(0.0, rounds=rounds, warm_up=5)
            try:
                yield from _speed_of(workload, compiled, budget, device, rates)
            except Exception as error:
                # Such as a missing compiler, or too little memory: the others can still be measured.
                yield {
                    "part": "speed",
                    "network": str(workload),
                    "compiled": compiled,
                    "what": "stopped",
                    **_failed(error),
                }
                torch._dynamo.reset()


def _speed_of(
    workload: Workload, compiled: bool, budget: Budget, device: torch.device, rates: tuple[float, float]
) -> Iterator[Record]:
    config = workload.config(device, precision="bf16", channels_last=True, compile=compiled)
    fabric = launch(config)
    batch = _channels_last(workload.domain_batch(device))
    bare, method = workload.build(device), build(workload, "dmg", device)
    for network in (bare, method.network.network):
        network.to(memory_format=torch.channels_last)
    around: Callable[[], AbstractContextManager[Any]] = fabric.autocast
    images, labels = _given(batch.images), _given(batch.labels)
    called: nn.Module = bare
    if compiled:
        called = torch.compile(bare)  # type: ignore[assignment]
        method.network.compile_segments()
    learn = MethodStep(workload, method, device, config=config)
    training = {"bare": bare_step(called, images, labels, around), "dmg": lambda: learn(batch)}
    # Several steps between two synchronisations, as in an epoch: the host goes on while the GPU computes.
    queued = QUEUED if device.type == "cuda" else 1
    seconds = interleave({name: partial(_repeat, step, queued) for name, step in training.items()}, budget, device)
    bare.train()
    plain = bare_step(bare, images, labels, around)
    bound = _bound(plain, rates)
    step = compare("dmg", "bare", seconds, "dmg", "bare")
    memory = {name: peak_memory(call, device) for name, call in training.items()}
    common: Record = {"part": "speed", "network": str(workload), "compiled": compiled, "rounds": len(step.ratios)}
    yield {
        **common,
        "what": "training",
        **_rates(workload, seconds, queued),
        **_ratio(step.quartiles),
        "steps_per_synchronisation": queued,
        "seconds_at_the_limits": bound,
        "synchronisations_per_step": synchronisations(training["dmg"], device),
        "synchronisations_per_bare_step": synchronisations(training["bare"], device),
        "memory_ratio": None if memory["bare"] is None else (memory["dmg"] or 0) / memory["bare"],
    }
    for name, call in training.items():
        if work := device_work(call, device):
            device_seconds, operations = work
            yield {
                **common,
                "what": f"training, {name} on the GPU alone",
                "seconds": median(seconds[name]) / queued,
                "seconds_of_kernels": device_seconds,
                "kernels_per_step": operations,
            }
    method.eval()
    bare.eval()
    domains = _given(batch.domains)
    with torch.inference_mode(), around():
        ways = {
            "bare": lambda: called(images),
            "every ensemble": lambda: method.predict(batch),
            "prediction ensemble": lambda: method.network.domain_logits(images).mean(0),
            "known domain": lambda: method.network(images, domains),
        }
        seconds = interleave(ways, budget, device)
        bound = _bound(lambda: bare(images), rates)
    for name in ways:
        measured = compare(name, "bare", seconds, name, "bare")
        own = {name: seconds[name]}
        yield {
            **common,
            "what": f"predicting, {name}",
            **_rates(workload, own),
            **_ratio(measured.quartiles),
            "seconds_at_the_limits": bound,
        }


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def _rates(workload: Workload, seconds: dict[str, list[float]], calls: int = 1) -> Record:
    return {
        f"images_per_second_{name.replace(' ', '_')}": calls * workload.batch / sorted(taken)[len(taken) // 2]
        for name, taken in seconds.items()
    }


def _ratio(quartiles: tuple[float, float, float]) -> Record:
    return dict(zip(("ratio_25", "ratio", "ratio_75"), quartiles, strict=True))


def _bound(call: Callable[[], object], rates: tuple[float, float]) -> float:
    """Return the seconds of a call at the measured limits: its operations, or its bytes, whichever take longer."""
    with FlopCounterMode(display=False) as operations:
        call()
    with CountedBytes() as moved:
        call()
    return max(operations.get_total_flops() / rates[0], moved.total / rates[1])


def _given(value: Tensor | None) -> Tensor:
    if value is None:
        raise ValueError("expected a training batch with images, labels and domains")
    return value


def _channels_last(batch: DomainBatch) -> DomainBatch:
    images = _given(batch.images).contiguous(memory_format=torch.channels_last)
    host = HostRows(_given(batch.labels).cpu(), _given(batch.domains).cpu())
    return DomainBatch(images, batch.labels, batch.domains, batch.ids, random=batch.random, host=host)


def pacs(device: torch.device, fast: bool, root: str | None, weights: str | None, jobs: int, out: Path) -> Record:
    """Run the protocol of the paper's Table 2 by `dmg benchmark`; returns how long it took, and how it ended."""
    settings = ["--methods", "dmg", "aggregate", "--out", str(out / "runs"), "--device", device.type, "--seeds", "0"]
    if fast:
        settings += ["--dataset", "digits", "--targets", "ink", "--fast"]
    else:
        if root is None:
            return {"part": "pacs", "what": "left out", "reason": "expected --root with PACS, got none"}
        settings += ["--config", str(PROTOCOL), "--root", root, "--weights", weights or "none"]
        settings += ["--epochs", "50", "--cache", "device", "--jobs", str(jobs)]
    began = time.perf_counter()
    done = _dmg("benchmark", *settings)
    return {
        "part": "pacs",
        "what": "leave one domain out",
        "seconds": time.perf_counter() - began,
        "status": done.returncode,
        "said": (done.stdout if done.returncode == 0 else done.stderr)[-3000:],
    }


def _dmg(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "domain_masks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def modes(device: torch.device, fast: bool) -> Iterator[Record]:
    """Yield whether half precision, synchronised batch norm and deterministic mode work here."""
    if device.type != "cpu":
        yield _tried("single precision, to compare with", lambda: _trained(device))
    for changes in () if device.type == "cpu" else HALF:
        yield _tried(
            f"fp16 {changes or ''}".strip(), lambda changes=changes: _trained(device, precision="16", **changes)
        )  # type: ignore[misc]
    yield _tried("synchronised batch norm", lambda: _synchronised_step(device))
    for name in RESUMED[:1] if fast else RESUMED:
        yield _tried(f"deterministic, {name} resumed bit for bit", lambda name=name: _resumed(device, name))  # type: ignore[misc]


def _tried(what: str, call: Callable[[], str]) -> Record:
    began = time.perf_counter()
    try:
        outcome = call()
    except Exception as error:
        outcome = _failed(error)["outcome"]
    return {"part": "modes", "what": what, "outcome": outcome, "seconds": time.perf_counter() - began}


def _failed(error: Exception) -> Record:
    return {"outcome": f"failed: {type(error).__name__}: {str(error)[:1000]}"}


def _config(device: torch.device, **changes: Any) -> RunConfig:
    settings = {"dataset": "digits", "target": "ink", "epochs": 2, "workers": 0, "device": device.type}
    return parse_config({**settings, **changes})


def _trained(device: torch.device, **changes: Any) -> str:
    with TemporaryDirectory() as folder:
        done = run(_config(device, **changes), Path(folder) / "run", reporter=ConsoleReporter(quiet=True))
        accuracy = done.results.in_domain.accuracy if done.results.in_domain else float("nan")
    return f"ended, in-domain accuracy {accuracy:.3f}"


def _synchronised_step(device: torch.device) -> str:
    """Take a step with SyncBatchNorm in a group of one process."""
    if device.type != "cuda":
        return "left out: it needs a GPU"
    with TemporaryDirectory() as folder:
        store = torch.distributed.FileStore(str(Path(folder) / "store"), 1)
        torch.distributed.init_process_group("nccl", store=store, rank=0, world_size=1)
        try:
            workload = Workload("resnet18", 64, 8)
            plain, network = workload.build(device), synchronised(workload.build(device))
            images = workload.images(device)
            difference = (plain.train()(images) - network.train()(images)).detach().abs().max()
            network(images).sum().backward()
            return f"ended, logits differ from those of batch norm by {float(difference):.2g}"
        finally:
            torch.distributed.destroy_process_group()


class _StopError(Exception):
    """Ends a run in the middle of an epoch."""


def _resumed(device: torch.device, name: str) -> str:
    """Train once without a break and once with one; returns whether the models are equal, byte by byte."""
    config = _config(device, method=name, deterministic=True, checkpoint_every=1e-9)
    quiet, kind, stop = ConsoleReporter(quiet=True), METHODS[name], [2]
    step = kind.step

    def stopping(self: Method, batch: Any, engine: Any) -> Any:
        if stop and engine.global_step == stop[0]:
            stop.clear()
            raise _StopError
        return step(self, batch, engine)

    with TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        run(config, whole, reporter=quiet)
        with mock.patch.object(kind, "step", stopping):
            try:
                run(config, broken, reporter=quiet)
            except _StopError:
                run(config, broken, resume=True, reporter=quiet)
        models = [(place / "model.safetensors").read_bytes() for place in (whole, broken)]
    return "equal" if models[0] == models[1] else "failed: the models differ"


class Records:
    """The records so far, printed and written to ``gpu.json`` and ``gpu.csv`` with each that is added."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.kept: list[Record] = []
        out.mkdir(parents=True, exist_ok=True)

    def add(self, record: Record) -> None:
        """Print a record, and write all."""
        self.kept.append(record)
        print("  ".join(f"{name}={_text(value)}" for name, value in record.items() if value is not None), flush=True)
        (self.out / "gpu.json").write_text(json.dumps(self.kept, indent=1), encoding="utf-8")
        with (self.out / "gpu.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for one in self.kept for name in one)))
            writer.writeheader()
            writer.writerows(self.kept)


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    result.add_argument("parts", nargs="*", metavar="PART", help="among speed, pacs and modes; default: all")
    result.add_argument("--out", type=Path, required=True, help="folder for gpu.json, gpu.csv and the runs")
    result.add_argument("--root", help="PACS's folder or its parent")
    result.add_argument("--weights", help="file with the weights of MobileNetV2; default: none")
    result.add_argument(
        "--networks", nargs="+", metavar="NAME", help=f"networks of speed; default: {' '.join(NETWORKS)}"
    )
    result.add_argument("--rounds", type=int, default=30, help="rounds of a comparison; default 30")
    result.add_argument("--jobs", type=int, default=8, help="runs at once on PACS; default 8")
    result.add_argument("--fast", action="store_true", help="smoke run on a CPU, too; the numbers mean nothing")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; returns the exit status: 2 without a GPU, 1 where something failed."""
    command = parser()
    chosen = command.parse_args(arguments)
    if wrong := [name for name in chosen.parts if name not in ("speed", "pacs", "modes")]:
        command.error(f"unknown part {wrong[0]!r}: expected speed, pacs or modes")
    if not torch.cuda.is_available() and not chosen.fast:
        print("error: there is no GPU here: use --fast for a smoke run on the CPU", file=sys.stderr)
        return 2
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    records, parts = Records(chosen.out), chosen.parts or ("speed", "pacs", "modes")
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    records.add({"part": "machine", "what": named, "torch": str(torch.__version__)})
    if "speed" in parts:
        networks = chosen.networks or (FAST_NETWORKS if chosen.fast else NETWORKS)
        for record in speed(device, chosen.fast, networks, chosen.rounds):
            records.add(record)
    if "pacs" in parts:
        records.add(pacs(device, chosen.fast, chosen.root, chosen.weights, chosen.jobs, chosen.out))
    if "modes" in parts:
        for record in modes(device, chosen.fast):
            records.add(record)
    failed = [one for one in records.kept if one.get("status") or str(one.get("outcome", "")).startswith("failed")]
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
