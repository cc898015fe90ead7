"""The note on a run that is resumed for another number of epochs: whether a run of that number would be the same so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import generated
from domain_masks.methods import Method
from domain_masks.progress import ConsoleReporter
from domain_masks.training import run
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.planned_length import note_on_length
from domain_masks.training.provenance import Provenance
from domain_masks.training.run_progress import Progress
from methods.contract import built, of
from training.other_methods import TwoPhases

STEPS = 20


def note(
    settings: dict[str, Any], before: int, now: int, epochs: int, batches: int = 0, method: Method | None = None
) -> str | None:
    """The note on a run of ``before`` epochs that is resumed for ``now``, after ``epochs`` and ``batches`` of the next one."""
    checkpoint = CheckpointState({}, Provenance(), Progress(epochs_done=epochs, batches_done=batches), epochs=before)
    return note_on_length(
        generated.config(**{**settings, "epochs": now}), method or built("aggregate"), checkpoint, STEPS
    )


COSINE = {"schedule": "cosine"}
BY_STEP = {"schedule": "cosine", "schedule_unit": "step"}
OTHERWISE: dict[str, tuple[dict[str, Any], tuple[int, ...], str]] = {
    "rates by epoch": (COSINE, (4, 10, 2), "the learning rates of schedule cosine"),
    "rates by step": (BY_STEP, (2, 10, 1), "the learning rates of schedule cosine"),
    "rates within the first epoch": (BY_STEP, (2, 10, 0, 2), "the learning rates of schedule cosine"),
    "rates of the masks": (
        {"schedule": "constant", "schedule_masks": "cosine"},
        (4, 10, 2),
        "the learning rates of schedule cosine",
    ),
    "rates after the warm-up": (
        {**BY_STEP, "warmup_epochs": 1},
        (3, 10, 1, 2),
        "the learning rates of schedule cosine",
    ),
    "swa that has started": ({"average": "swa"}, (4, 10, 3), "the start of swa"),
    "decay of ema": ({"average": "ema"}, (4, 10, 1), "the decay of ema"),
    "interval of swad": ({"average": "swad"}, (4, 10, 1), "the interval of swad"),
}
ALIKE: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "the same number": (BY_STEP, (4, 4, 2)),
    "nothing done": (BY_STEP, (2, 10, 0)),
    "first step": (BY_STEP, (2, 10, 0, 1)),
    "first epoch at one rate": (COSINE, (2, 10, 1)),
    "rates without an end": ({"schedule": "inverse", "schedule_unit": "step"}, (4, 10, 2)),
    "within the warm-up": ({**BY_STEP, "warmup_epochs": 1}, (3, 10, 1)),
    "swa that has not started": ({"average": "swa"}, (4, 10, 2)),
    "decay of ema that is given": ({"average": "ema", "average_decay": 0.9}, (4, 10, 1)),
    "interval of swad that is given": ({"average": "swad", "average_interval": 5}, (4, 10, 1)),
}


@pytest.mark.parametrize(("settings", "numbers", "named"), OTHERWISE.values(), ids=list(OTHERWISE))
def test_what_would_have_been_different_is_named(
    settings: dict[str, Any], numbers: tuple[int, ...], named: str
) -> None:
    line = note({"schedule": "constant", **settings}, *numbers)
    assert line is not None
    assert f"resumed for {numbers[1]} epochs instead of {numbers[0]}: what is done had {named} of a run" in line


@pytest.mark.parametrize(("settings", "numbers"), ALIKE.values(), ids=list(ALIKE))
def test_where_nothing_would_have_been_different_there_is_no_note(
    settings: dict[str, Any], numbers: tuple[int, ...]
) -> None:
    assert note({"schedule": "constant", **settings}, *numbers) is None


def test_weights_that_change_over_the_training_are_named() -> None:
    settings = {"schedule": "constant"}
    assert "the weight that method dann changes" in str(note(settings, 4, 10, 1, method=built("dann")))
    assert note(settings, 4, 10, 1, method=built("dann", schedule="constant")) is None
    assert "the weight that method dsn changes" in str(note(settings, 4, 10, 3, method=built("dsn", start=0.5)))
    assert note(settings, 4, 10, 2, method=built("dsn", start=0.5)) is None


def test_phases_are_named_where_an_epoch_would_be_of_another() -> None:
    settings = {"schedule": "constant"}
    assert "had the phases of a run of 4" in str(note(settings, 4, 10, 3, method=of(TwoPhases)))
    assert note(settings, 4, 10, 2, method=of(TwoPhases)) is None


def test_everything_is_named_in_one_line() -> None:
    line = note({**BY_STEP, "average": "ema"}, 4, 10, 2, method=built("dann"))
    assert line is not None
    assert "schedule cosine, the decay of ema, the weight that method dann changes" in line
    assert "\n" not in line


class Stopping(ConsoleReporter):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)
        if line.startswith("epoch 1/2"):
            raise KeyboardInterrupt


def test_a_run_with_rates_by_step_says_so_when_it_is_resumed(tmp_path: Path) -> None:
    settings, data = {**BY_STEP, "epochs": 2}, generated.dataset(8)
    with pytest.raises(KeyboardInterrupt):
        run(generated.config(**settings), tmp_path / "run", dataset=data, reporter=Stopping())
    longer, reporter = generated.config(**settings | {"epochs": 3}), Stopping()
    run(longer, tmp_path / "run", dataset=data, resume=True, reporter=reporter)
    (said,) = (line for line in reporter.lines if "instead of" in line)
    assert said.startswith("note: resumed for 3 epochs instead of 2: what is done had the learning rates of schedule")
