"""What processes of a run compare before its first step. Several of them: test_two_nodes.py."""

from __future__ import annotations

import pytest
import torch

from domain_masks.training.agreement import _is_close


@pytest.mark.parametrize(
    ("here", "is_close"),
    [
        (torch.tensor([1.0, 2.0]), True),
        (torch.tensor([1.0, 2.0 + 1e-5]), True),
        (torch.tensor([1.0, 2.1]), False),
        (torch.tensor([1.0, float("nan")]), False),
        (torch.tensor([1.0, 2.0, 3.0]), False),
    ],
)
def test_weights_may_differ_by_rounding_alone(here: torch.Tensor, is_close: bool) -> None:
    assert _is_close(torch.tensor([1.0, 2.0]), here) == is_close


def test_whole_numbers_may_not_differ() -> None:
    assert not _is_close(torch.tensor([1000]), torch.tensor([1001]))
    assert _is_close(torch.tensor([True, False]), torch.tensor([True, False]))
