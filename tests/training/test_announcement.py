"""What a run says before its first step of the processes that share it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import generated
from domain_masks.data import Subset, split_domains
from domain_masks.training.announcement import _left_out, _missing_classes


def experiment(images: int, processes: int, sampling: str = "pooled", closed: bool = False) -> Any:
    return SimpleNamespace(
        config=SimpleNamespace(batch_size=10, sampling=sampling),
        fabric=SimpleNamespace(world_size=processes),
        method=SimpleNamespace(is_closed_form=lambda: closed),
        learned_from=lambda: range(images),
    )


@pytest.mark.parametrize(
    ("given", "noted"),
    [
        ((22, 3), True),
        # One process leaves out a last batch of a single image as well, and has no use for an empty one.
        ((21, 3), False),
        ((20, 3), False),
        ((23, 3), False),
        ((22, 1), False),
        ((22, 2), False),
        ((22, 3, "balanced"), False),
        ((22, 3, "pooled", True), False),
    ],
)
def test_a_last_batch_that_only_several_processes_leave_out_is_noted(given: tuple[Any, ...], noted: bool) -> None:
    lines = list(_left_out(experiment(*given)))
    assert bool(lines) == noted
    assert all("has 2 images, too few for 3 processes" in line for line in lines)


def test_source_domains_without_training_images_of_a_class_are_noted() -> None:
    dataset = generated.dataset()
    whole = split_domains(dataset, [generated.DOMAINS[2]])
    assert not list(_missing_classes(whole))
    absent = (whole.train.domain_indices == 1) & (whole.train.labels == 2)
    partly = replace(whole, train=Subset(dataset, whole.train.indices[~absent]))
    assert list(_missing_classes(partly)) == [
        f"note: source domains without training images of a class: {generated.DOMAINS[1]} of {generated.CLASSES[2]!r}"
    ]
