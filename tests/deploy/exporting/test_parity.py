"""A file is compared with its model on every batch size; NaN and other pixels count as differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from deploy.examples import card
from domain_masks.deploy.exporting.parity import Parity, compare
from domain_masks.deploy.exporting.parity_images import (
    generated_images,
)
from domain_masks.deploy.predicting.model import preprocessing_of

PREPROCESSING = preprocessing_of(card())


def reference() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)).eval()


@pytest.mark.parametrize(("change", "holds"), [(0.0, True), (5e-5, True), (2e-4, False), (float("nan"), False)])
def test_comparison(change: float, holds: bool) -> None:
    network, parity_images = reference(), generated_images(PREPROCESSING)

    def run(images: torch.Tensor) -> torch.Tensor:
        # Only with several images, as a file that fixed its batch would err.
        return network(images) + (change if len(images) > 1 else 0)

    parity = compare(run, network, parity_images, PREPROCESSING, inside=False, half=False)
    assert parity.holds is holds
    assert parity.images == 12
    assert compare(run, network, parity_images, PREPROCESSING, inside=False, half=True).holds is not math.isnan(change)


def test_preprocessing_of_the_file_is_held_against_pillow() -> None:
    assert not Parity(1, "here", (1,), 0.0, 1.0, 1, levels=1.1).holds
    assert Parity(1, "here", (1,), 0.0, 1.0, 1, levels=1.0).holds
