"""What methods of one network share: which rows of a batch each source has."""

import pytest
import torch

from domain_masks.errors import InputError
from domain_masks.methods.one_network import by_domain, mean_weights
from methods.contract import SOURCES, toy_batch


def test_the_rows_of_each_source_of_which_there_have_to_be_so_many():
    batch = toy_batch(12)
    rows = by_domain(batch, SOURCES, 4)
    assert rows.tolist() == [[domain == index for domain in batch.domains.tolist()] for index in range(len(SOURCES))]
    with pytest.raises(InputError, match=f"expected at least 5 .* got 4 of '{SOURCES[0]}', 4 of"):
        by_domain(batch, SOURCES, 5)


def test_mean_weights_give_the_mean_of_each_source():
    domains, values = torch.tensor([0, 0, 1, 0]), torch.tensor([1.0, 2.0, 5.0, 6.0])
    rows = domains == torch.arange(2)[:, None]
    assert (mean_weights(rows, values) @ values).tolist() == pytest.approx([3.0, 5.0])
