"""The best epoch is the first with the highest accuracy, however the means over sources are rounded."""

from __future__ import annotations

import pytest

from domain_masks.methods import Phase
from domain_masks.training.phases import PhasePlan
from domain_masks.training.run_progress import Progress


@pytest.mark.parametrize("hits", [((90, 81, 70), (91, 80, 70)), ((91, 80, 70), (90, 81, 70)), ((1, 2, 97), (97, 2, 1))])
def test_of_equal_epochs_the_first_is_the_best(hits: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    progress, plan = Progress(), PhasePlan((Phase("all", 1.0),), (0,), 4)
    first, second = (sum(count / 100 for count in counts) / 3 for counts in hits)
    assert progress.finish_epoch(first, plan)
    assert not progress.finish_epoch(second, plan)
    assert progress.best_epoch == 1
    # One image of a hundred thousand more.
    assert progress.finish_epoch(second + 1e-5 / 3, plan)
    assert progress.best_epoch == 3
