"""The stand-in for a GPU notices what would synchronise with one, and lets the rest pass."""

import pytest
import torch

from domain_masks.data import BatchAugmentation, Preprocessing
from domain_masks.randomness import BatchRandomness
from methods.device_double import DEVICE, on_device_double

VALUES = torch.zeros(4, device=DEVICE)
LABELS = torch.zeros(4, dtype=torch.int64, device=DEVICE)
TABLE = torch.zeros(4, 3, device=DEVICE)


@pytest.mark.parametrize(
    "waiting",
    [
        lambda: bool(VALUES.isfinite().all()),
        lambda: float(VALUES.sum()),
        VALUES.tolist,
        VALUES.cpu,
        lambda: VALUES[VALUES > 0],
        lambda: VALUES.clone().index_put_((VALUES > 0,), torch.zeros(2, device=DEVICE)),
        lambda: torch.nonzero(VALUES),
        lambda: torch.unique(LABELS),
        lambda: torch.equal(LABELS, LABELS),
        lambda: torch.ones(3).to(DEVICE),
        lambda: VALUES.new_tensor([1.0, 2.0]),
        lambda: torch.tensor(1.0, device=DEVICE),
        lambda: TABLE[torch.tensor([0, 1])],
        lambda: VALUES + torch.zeros(4),
        lambda: VALUES.copy_(torch.zeros(4)),
    ],
)
def test_what_synchronises_is_refused(waiting):
    with on_device_double(), pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        waiting()


@pytest.mark.parametrize(
    "asynchronous",
    [
        lambda: torch.ones(3).to(DEVICE, non_blocking=True),
        lambda: VALUES[LABELS],
        lambda: VALUES * 2 + torch.full((), 3.0, device=DEVICE),
        lambda: torch.zeros(3).tolist(),
        lambda: torch.nn.functional.cross_entropy(TABLE, LABELS),
    ],
)
def test_what_does_not_is_computed(asynchronous):
    with on_device_double():
        asynchronous()


@pytest.mark.parametrize("name", ["none", "standard", "pacs"])
def test_batches_are_augmented_without_synchronising(name):
    preprocessing = Preprocessing(size=16, resize=18, square=False)
    random = BatchRandomness(0, 0, 0, 6, 6)
    images = torch.zeros(6, 3, 16, 16, dtype=torch.uint8, device=DEVICE)
    augment = BatchAugmentation(name, preprocessing)
    with on_device_double():
        assert augment(images, random).shape == images.shape
