from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from domain_masks.deploy.predicting.computing_threads import in_threads
from domain_masks.errors import InputError


@pytest.mark.parametrize("count", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(count: int) -> None:
    assert list(in_threads(lambda item: item * item, range(50), count)) == [item * item for item in range(50)]


def test_as_many_are_computed_at_once_as_there_are_threads() -> None:
    together = threading.Barrier(3)

    def met(item: int) -> int:
        together.wait(60)
        return item

    assert list(in_threads(met, range(6), 3)) == list(range(6))


def test_only_a_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = in_threads(lambda item: item, items(), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 8
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 8


def test_an_exception_comes_where_its_result_would() -> None:
    def picky(item: int) -> int:
        if item == 3:
            raise InputError("three")
        return item

    results = in_threads(picky, range(10), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="three"):
        next(results)
    assert not [one for one in threading.enumerate() if one.name.startswith("domain-masks-computing")]


def test_torchs_threads_are_divided_and_given_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    seen: list[int] = []
    later: list[int] = []
    try:
        inside = list(in_threads(lambda _: torch.get_num_threads(), range(4), 2))
        seen.append(torch.get_num_threads())
        other = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        other.start()
        other.join()
    finally:
        torch.set_num_threads(before)
    assert inside == [2] * 4
    assert seen == later == [4]


def test_another_default_type_is_left_to_one_thread() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        names = set(in_threads(lambda _: threading.current_thread().name, range(4), 2))
    finally:
        torch.set_default_dtype(torch.float32)
    assert names == {threading.current_thread().name}
