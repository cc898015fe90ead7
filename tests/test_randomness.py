"""Random numbers of a batch: the same whatever number of processes share it, and of their distributions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from domain_masks.randomness import BatchRandomness

TOTAL = 7


def of_rows(first: int, last: int, step: int = 0) -> BatchRandomness:
    return BatchRandomness(seed=3, step=step, first=first, count=last - first, total=TOTAL)


DRAWS: dict[str, Callable[[BatchRandomness], Tensor]] = {
    "uniform": lambda random: random.uniform("mine", 2),
    "normal": lambda random: random.normal("mine", 2),
    "beta": lambda random: random.beta("mine", 0.3, 2.0, 2),
    "permutation": lambda random: random.permutation("mine"),
}


@pytest.mark.parametrize("name", DRAWS)
def test_processes_have_their_rows_of_what_one_process_draws(name: str) -> None:
    whole = DRAWS[name](of_rows(0, TOTAL))
    assert len(whole) == TOTAL
    for cuts in ([0, 4, 7], [0, 2, 4, 7]):
        parts = [DRAWS[name](of_rows(first, last)) for first, last in pairwise(cuts)]
        assert torch.equal(torch.cat(parts), whole)
    torch.rand(5)
    assert torch.equal(DRAWS[name](of_rows(0, TOTAL)), whole)
    assert not torch.equal(DRAWS[name](of_rows(0, TOTAL, step=1)), whole)


def test_what_is_drawn_once_is_equal_on_all_processes() -> None:
    drawn = [of_rows(first, last).once("mine", 2, 3) for first, last in ((0, 7), (0, 3), (3, 7))]
    assert drawn[0].shape == (2, 3)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert of_rows(0, 7).once("mine").shape == ()


def test_a_permutation_takes_every_row_of_the_batch_once() -> None:
    index = torch.cat([of_rows(0, 4).permutation("mine"), of_rows(4, 7).permutation("mine")])
    assert index.dtype == torch.int64
    assert sorted(index.tolist()) == list(range(TOTAL))


def test_one_name_gives_independent_numbers_of_each_kind() -> None:
    random = BatchRandomness(0, 0, 0, 4000, 4000)
    drawn = torch.stack(
        [
            random.uniform("mine"),
            random.normal("mine"),
            random.beta("mine", 1, 1),
            random.permutation("mine").float(),
            random.once("mine", 4000),
        ]
    )
    assert (torch.corrcoef(drawn) - torch.eye(5)).abs().max() < 0.06


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.2, 0.2), (0.1, 3.0), (8.0, 2.0), (0.001, 0.001)])
def test_beta_has_the_moments_of_its_distribution(alpha: float, beta: float) -> None:
    drawn = BatchRandomness(1, 0, 0, 20000, 20000).beta("mine", alpha, beta).double()
    assert torch.isfinite(drawn).all()
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    mean = alpha / (alpha + beta)
    variance = mean * (1 - mean) / (alpha + beta + 1)
    assert float(drawn.mean()) == pytest.approx(mean, abs=4 * (variance / 20000) ** 0.5)
    assert float(drawn.var()) == pytest.approx(variance, rel=0.06)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 1.0), (1.0, -1.0), (float("nan"), 1.0), (1.0, float("inf"))])
def test_beta_needs_numbers_above_0(alpha: float, beta: float) -> None:
    with pytest.raises(ValueError, match="expected alpha and beta above 0"):
        of_rows(0, 7).beta("mine", alpha, beta)


def test_normal_numbers_are_normal() -> None:
    drawn = BatchRandomness(1, 0, 0, 20000, 20000).normal("mine")
    assert float(drawn.mean()) == pytest.approx(0, abs=0.03)
    assert float(drawn.std()) == pytest.approx(1, abs=0.03)


def test_keys_of_rows_do_not_depend_on_the_parts_of_a_batch() -> None:
    whole = of_rows(0, TOTAL, step=4).keys("stream")
    assert whole.dtype == torch.int64
    assert len(set(whole.tolist())) == TOTAL
    assert min(whole.tolist()) >= 0
    assert torch.equal(
        torch.cat([of_rows(0, 2, step=4).keys("stream"), of_rows(2, TOTAL, step=4).keys("stream")]), whole
    )
    assert not torch.equal(of_rows(0, TOTAL, step=5).keys("stream"), whole)
