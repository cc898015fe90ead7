"""``--batch auto``: the search, what stops it, and that the number is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import generated
from domain_masks.errors import InputError
from domain_masks.methods import METHODS
from domain_masks.records import RunFolder
from domain_masks.records.config import parse_config, read_config
from domain_masks.training import Experiment, run
from domain_masks.training.batch_size import _Attempt, largest_allowed, largest_fitting
from domain_masks.training.launching import launch


class Silent:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def track(self, items: Any, total: int, what: str) -> Any:
        yield from items


@pytest.mark.parametrize(
    ("images", "most", "expected"),
    [(10_000, 512, 512), (2047, 512, 256), (2048, 512, 512), (96, 64, 16), (10_000, 64, 64), (10, 64, 8)],
)
def test_a_quarter_of_the_images_and_no_more(images: int, most: int, expected: int) -> None:
    assert largest_allowed(images, most) == expected


@pytest.mark.parametrize(
    ("memory", "limit", "expected"), [(1000, 512, 512), (300, 512, 256), (40, 512, 32), (2, 64, 2)]
)
def test_the_search_doubles_or_halves_from_64(memory: int, limit: int, expected: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= memory

    assert largest_fitting(fits, limit) == expected
    assert tried[0] == min(64, limit)
    assert len(set(tried)) == len(tried) <= 6


def test_the_search_ends_where_nothing_fits() -> None:
    with pytest.raises(InputError, match="not even 2 images"):
        largest_fitting(lambda size: False, 512)


@pytest.mark.parametrize("frozen", [False, True])
def test_an_attempt_is_a_training_step_and_an_empty_memory_is_no_error(
    frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = generated.config(batch="auto", freeze_features=frozen)
    experiment = Experiment(settings, generated.dataset(), launch(settings), Silent())
    attempt = _Attempt(experiment)
    before = {name: value.clone() for name, value in experiment.method.state_dict().items()}
    sizes: list[int] = []
    kind = METHODS["dmg"]
    step = kind.step

    def little_memory(method: Any, batch: Any, engine: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(method, batch, engine)

    monkeypatch.setattr(kind, "step", little_memory)
    assert not attempt(32)
    assert attempt(16)
    assert sizes == [32, 16, 16]
    changed = experiment.method.state_dict()
    assert any(not torch.equal(before[name], changed[name]) for name in before)


def test_the_number_is_said_and_stored_and_repeats_the_run(tmp_path: Path) -> None:
    data, reporter = generated.dataset(), Silent()
    first = run(generated.config(batch="auto", epochs=1), tmp_path / "auto", dataset=data, reporter=reporter)
    # 96 training images: a quarter is 24.
    assert any("batch: 16" in line for line in reporter.lines)
    stored = parse_config(read_config(first.folder.config))
    assert stored.batch == 16
    second = run(stored, tmp_path / "again", dataset=data, reporter=Silent())
    assert second.folder.model.read_bytes() == first.folder.model.read_bytes()


def test_a_begun_run_keeps_its_number(tmp_path: Path) -> None:
    data, out = generated.dataset(), tmp_path / "run"

    class Interrupting(Silent):
        def say(self, line: str) -> None:
            if line.startswith("epoch 1/2"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(generated.config(batch=8, epochs=2), out, dataset=data, reporter=Interrupting())
    asked = generated.config(batch="auto", epochs=2)
    assert run(asked, out, resume=True, dataset=data, reporter=Silent()).results.epochs_run == 2
    assert parse_config(read_config(RunFolder(out).config)).batch == 8
    assert run(asked, out, resume=True, dataset=data, reporter=Silent()).results.epochs_run == 2
