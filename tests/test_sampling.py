import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.sampling import SAMPLING, balanced_batches, keyed_permutation, pooled_batches

DOMAINS = np.repeat([0, 2, 3], [50, 20, 7])


def test_permutation_is_keyed():
    order = keyed_permutation(100, 1, "stream", 2)
    assert sorted(order.tolist()) == list(range(100))
    assert order.tolist() == keyed_permutation(100, 1, "stream", 2).tolist()
    for other in (keyed_permutation(100, 2, "stream", 2), keyed_permutation(100, 1, "stream", 3)):
        assert order.tolist() != other.tolist()
    # The order of runs that are already published: it must not change with a new version of anything.
    assert keyed_permutation(6, 0, "order/pooled").tolist() == [5, 1, 4, 2, 0, 3]


def test_pooled_batches_hold_every_row_once_and_keep_the_partial_one():
    batches = pooled_batches(DOMAINS, 16, seed=0, epoch=0)
    assert [len(batch) for batch in batches] == [16, 16, 16, 16, 13]
    assert sorted(np.concatenate(batches).tolist()) == list(range(77))


@pytest.mark.parametrize("sampling", SAMPLING)
def test_order_depends_on_seed_and_epoch_only(sampling):
    def order(seed, epoch):
        return np.concatenate(SAMPLING[sampling](DOMAINS, 16, seed, epoch)).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert len(SAMPLING[sampling](DOMAINS, 16, 0, 0)) == 5


@pytest.mark.parametrize("batch_size", [2, 3, 16])
def test_balanced_batches_differ_by_at_most_one_row_per_domain(batch_size):
    batches = balanced_batches(DOMAINS, batch_size, seed=0, epoch=3)
    counts = np.array([[(DOMAINS[batch] == domain).sum() for domain in (0, 2, 3)] for batch in batches])
    assert (counts.sum(axis=1) == batch_size).all()
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert np.ptp(counts.sum(axis=0)) <= 1


def test_balanced_sampling_goes_through_a_small_domain_before_repeating_it():
    rows = np.concatenate(balanced_batches(DOMAINS, 16, seed=0, epoch=0))
    small = rows[DOMAINS[rows] == 3]
    passes = [small[start : start + 7].tolist() for start in range(0, 21, 7)]
    assert all(sorted(one) == list(range(70, 77)) for one in passes)
    assert passes[0] != passes[1]


@pytest.mark.parametrize("sampling", SAMPLING)
def test_misuse_is_named(sampling):
    with pytest.raises(InputError, match="batch size"):
        SAMPLING[sampling](DOMAINS, 0, 0, 0)
    with pytest.raises(InputError, match="got none"):
        SAMPLING[sampling](DOMAINS[:0], 4, 0, 0)
