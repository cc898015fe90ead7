"""What is shown of an epoch while it runs: read now and then, and never waited for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from domain_masks.training.live_numbers import EVERY, Glimpse, LiveNumbers, Pace


class Noting:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def terms(value: float) -> dict[str, torch.Tensor]:
    return {"loss/classification": torch.tensor(value), "loss/overlap": torch.tensor(0.5)}


def test_loss_rate_speed_and_time_left_are_shown() -> None:
    reporter, clock = Noting(), Clock()
    live = LiveNumbers(reporter, steps=100, done=0, clock=clock)  # type: ignore[arg-type]
    live.begin_epoch()
    for step in range(10):
        clock.now += 1.0
        live.step(terms(float(step)), {"body": 1e-3, "head": 1.0}, 32, step)
    assert len(reporter.notes) == 10
    assert reporter.notes[-1] == "loss 9.500  lr 1.0e-03  32 images/s  run 2 min left"
    clock.now += 10.0
    assert live.left(10) == pytest.approx(20 / 10 * 90), "validation counts"


def test_numbers_are_read_now_and_then_only() -> None:
    reporter, clock = Noting(), Clock()
    live = LiveNumbers(reporter, steps=100, done=0, clock=clock)  # type: ignore[arg-type]
    live.begin_epoch()
    for step in range(21):
        clock.now += EVERY / 10
        live.step(terms(1.0), {}, 32, step)
    assert len(reporter.notes) == 2
    assert "lr" not in reporter.notes[0]


def test_a_resumed_run_is_timed_by_its_own_steps() -> None:
    clock = Clock()
    live = LiveNumbers(Noting(), steps=100, done=40, clock=clock)  # type: ignore[arg-type]
    assert live.left(40) is None
    clock.now = 10.0
    assert live.left(50) == pytest.approx(50.0)
    assert live.left(100) == 0.0


def test_a_reporter_without_notes_is_left_alone() -> None:
    clock = Clock()
    live = LiveNumbers(object(), steps=10, done=0, clock=clock)  # type: ignore[arg-type]
    clock.now = 5.0
    live.step(terms(1.0), {}, 1, 0)


def test_a_stage_of_several_parts_has_one_time_left() -> None:
    reporter, clock = Noting(), Clock()
    pace = Pace(reporter, "features", clock)  # type: ignore[arg-type]
    pace.begin(6400)
    for _ in range(10):
        clock.now += 1.0
        pace.add(64)
    assert reporter.notes[-1] == "64 images/s  all features 2 min left"
    Pace(object(), "features", clock).add(64)  # type: ignore[arg-type]


def test_a_number_of_a_gpu_is_read_once_it_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        arrived = False

        def record(self, _stream: Any) -> None: ...

        def query(self) -> bool:
            return Event.arrived

    class OnGpu:
        """Stands for a tensor of a GPU."""

        device = torch.device("cuda")

        def __init__(self, value: float) -> None:
            self.value = value

        def detach(self) -> OnGpu:
            return self

        float = detach

        def reshape(self, _shape: Any) -> OnGpu:
            return self

    class Pinned:
        def copy_(self, number: OnGpu, non_blocking: bool) -> None:
            assert non_blocking
            self.value = number.value

        def __float__(self) -> float:
            assert Event.arrived, "read before it was there"
            return self.value

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: None)
    monkeypatch.setattr(torch, "empty", lambda _shape, pin_memory: Pinned())
    glimpse = Glimpse()
    glimpse.look(lambda: OnGpu(3.0))  # type: ignore[arg-type,return-value]
    glimpse.look(lambda: OnGpu(4.0))  # type: ignore[arg-type,return-value]
    assert glimpse.value is None
    Event.arrived = True
    glimpse.look(lambda: OnGpu(5.0))  # type: ignore[arg-type,return-value]
    assert glimpse.value == 3.0
