"""A run changes nothing in the process around it, and nothing that is set there changes a run."""

from __future__ import annotations

import os
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import domain_masks
import generated
from domain_masks.errors import RunFolderError
from domain_masks.methods import Context
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone, tracing
from domain_masks.progress import ConsoleReporter
from domain_masks.torch_globals import default_device
from domain_masks.training import evaluate, run
from domain_masks.training.process_state import fresh_process_state

SETTINGS = {"epochs": 1, "method": "dmg"}


def trained(out: Path, reporter: ConsoleReporter | None = None, **changes: Any) -> bytes:
    settings = generated.config(**{**SETTINGS, **changes})
    reporter = reporter or ConsoleReporter(quiet=True)
    return run(settings, out, dataset=generated.dataset(), reporter=reporter).folder.model.read_bytes()


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    out = tmp_path_factory.mktemp("usual") / "run"
    return out, trained(out)


@contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def elsewhere() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize(
    "around",
    [torch.no_grad, torch.inference_mode, double, elsewhere, lambda: torch.autocast("cpu", dtype=torch.bfloat16)],
    ids=["no_grad", "inference_mode", "double", "default_device", "autocast"],
)
def test_a_run_computes_the_same_whatever_is_set_around_it(
    around: Callable[[], AbstractContextManager[Any]], usual: tuple[Path, bytes], tmp_path: Path
) -> None:
    path, expected = usual
    image = generated.dataset().open_image(0)
    said = domain_masks.load(path).predict(image)
    before = torch.is_grad_enabled(), torch.get_default_dtype(), default_device()
    with around():
        assert trained(tmp_path / "run") == expected
        evaluate(tmp_path / "run", ConsoleReporter(quiet=True), dataset=generated.dataset())
        assert (tmp_path / "run" / "model.safetensors").read_bytes() == expected
        if around in (double, elsewhere):
            assert domain_masks.load(tmp_path / "run").predict(image) == said
    assert (torch.is_grad_enabled(), torch.get_default_dtype(), default_device()) == before


def surroundings() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "random": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": torch.backends.cudnn.benchmark,
        "products": torch.get_float32_matmul_precision(),
        "environment": dict(os.environ),
        "warnings": list(map(str, warnings.filters)),
        "folder": Path.cwd(),
    }


def test_a_run_leaves_the_process_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    trained(tmp_path / "first")  # what is imported once
    before = surroundings()
    trained(tmp_path / "run", deterministic=True, threads=2)
    assert surroundings() == before
    with pytest.raises(RunFolderError):
        trained(tmp_path / "run", deterministic=True, threads=2)
    assert surroundings() == before
    evaluate(tmp_path / "run", ConsoleReporter(quiet=True), dataset=generated.dataset())
    assert surroundings() == before


def test_draws_of_imported_libraries_are_undone() -> None:
    before = random.getstate()
    with fresh_process_state(ConsoleReporter(quiet=True)):
        # As the first import of Rich does.
        random.random()
    assert random.getstate() == before


def test_runs_in_threads_of_one_process_come_one_after_the_other(tmp_path: Path) -> None:
    ended: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: ended.update({seed: trained(tmp_path / f"beside-{seed}", seed=seed)}))
        for seed in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == {seed: trained(tmp_path / f"alone-{seed}", seed=seed) for seed in range(3)}


def test_models_are_loaded_and_asked_while_a_run_is_trained(usual: tuple[Path, bytes], tmp_path: Path) -> None:
    path, expected = usual
    image = generated.dataset().open_image(0)
    said, problems, enough = [], [], threading.Event()

    def ask() -> None:
        while not enough.is_set():
            try:
                said.append(domain_masks.load(path).predict(image))
            except Exception as problem:
                problems.append(problem)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert trained(tmp_path / "run") == expected
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert problems == []
    assert len(set(map(str, said))) == 1


def test_a_network_is_used_while_another_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    other, images, results = build_backbone("small", 3).eval(), torch.zeros(1, 3, 16, 16), []
    expected = other(images)
    called = tracing._Tracer.called

    def beside(self: Any, *arguments: Any) -> Any:
        thread = threading.Thread(target=lambda: results.append(other(images)))
        thread.start()
        thread.join()
        return called(self, *arguments)

    monkeypatch.setattr(tracing._Tracer, "called", beside)
    context = Context(("a", "b"), ("x", "y", "z"), image_size=16)
    build_method("dmg", build_backbone("small", 3), context, method_settings("dmg", {}), seed=0)
    assert results
    assert all(torch.equal(result, expected) for result in results)
