from collections import Counter

import pytest
import torch
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation

from domain_masks.data import AUGMENTATIONS, BatchAugmentation, Preprocessing
from domain_masks.data.colours import ColorJitter
from domain_masks.errors import InputError
from domain_masks.randomness import BatchRandomness

PREPROCESSING = Preprocessing(size=28, resize=28, square=True)


def random_images(count):
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(count, 3, 5, 5, generator=generator)
    return (torch.nn.functional.interpolate(small, (32, 32), mode="bilinear") * 255).to(torch.uint8)


def randomness(count, step=0, first=0, total=None):
    return BatchRandomness(seed=3, step=step, first=first, count=count, total=total or count)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("total", [4, 7])
def test_parts_of_a_batch_equal_the_whole(name, total):
    augmentation = BatchAugmentation(name, PREPROCESSING)
    images = random_images(total)
    whole = augmentation(images, randomness(total))
    assert whole.shape == images.shape
    assert whole.dtype == torch.float32
    first = augmentation(images[:3], randomness(3, total=total))
    rest = augmentation(images[3:], randomness(total - 3, first=3, total=total))
    torch.testing.assert_close(torch.cat([first, rest]), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["pacs", "domainnet", "digits"])
def test_numbers_are_keyed_by_step_and_differ_between_images(name):
    augmentation = BatchAugmentation(name, PREPROCESSING)
    same = random_images(1).expand(8, -1, -1, -1)
    state = torch.get_rng_state()
    once = augmentation(same, randomness(8))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(augmentation(same, randomness(8)), once)
    assert any(not torch.allclose(augmentation(same, randomness(8, step)), once) for step in range(1, 4))
    assert len({tuple(image.flatten().tolist()) for image in once}) >= (2 if name == "domainnet" else 5)


def test_none_changes_nothing():
    images = random_images(2)
    torch.testing.assert_close(
        BatchAugmentation("none", PREPROCESSING)(images, randomness(2)), PREPROCESSING.normalize(images)
    )


def test_domainnet_mirrors_half_of_the_images_without_changing_a_pixel():
    columns = torch.arange(32, dtype=torch.uint8).expand(1, 3, 32, 32)
    changed = BatchAugmentation("domainnet", PREPROCESSING)(columns.expand(64, -1, -1, -1), randomness(64))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PREPROCESSING.mean, PREPROCESSING.std))
    values = ((changed * std + mean) * 255).round().long()[:, 0, 0]
    steps = values.diff(dim=1)
    assert (steps.abs() == 1).all()
    mirrored = (steps[:, 0] == -1).float().mean()
    assert 0.25 < mirrored < 0.75


_CHANGES = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def test_colours_are_torchvisions_in_an_order_of_each_images_own():
    jitter, images, random = ColorJitter(0.4, 0.4, 0.4, 0.4), random_images(24).float() / 255, randomness(24)
    changed = jitter(images, random)
    factors, orders = jitter.draw(random)
    assert len({tuple(order) for order in orders.tolist()}) > 10
    for image, found, factor, order in zip(images, changed, factors.tolist(), orders.tolist(), strict=True):
        expected = image
        for number in order:
            expected = _CHANGES[number](expected, factor[number])
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_factors_and_orders_are_distributed_as_torchvisions():
    jitter = ColorJitter(0.4, 0.5, 0.6, 0.3)
    factors, orders = jitter.draw(randomness(4000))
    bounds = [(0.6, 1.4), (0.5, 1.5), (0.4, 1.6), (-0.3, 0.3)]
    for column, (low, high) in zip(factors.unbind(1), bounds, strict=True):
        assert low <= column.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < column.max() <= high
        assert abs(column.mean() - (low + high) / 2) < 0.02 * (high - low)
    counts = Counter(map(tuple, orders.tolist()))
    assert len(counts) == 24
    assert all(100 < count < 240 for count in counts.values()), "each of the 24 orders about 167 times"


def test_digits_are_never_mirrored():
    images = torch.zeros(64, 3, 32, 32, dtype=torch.uint8)
    images[:, :, 8:24, 8:16] = 255
    changed = BatchAugmentation("digits", PREPROCESSING)(images, randomness(64))
    left, right = changed[..., :16].mean(dim=(1, 2, 3)), changed[..., 16:].mean(dim=(1, 2, 3))
    assert (left > right).float().mean() > 0.95


def test_misuse_is_named():
    augmentation = BatchAugmentation("none", PREPROCESSING)
    with pytest.raises(InputError, match="unknown augmentation 'pac'"):
        BatchAugmentation("pac", PREPROCESSING)
    with pytest.raises(InputError, match="uint8"):
        augmentation(random_images(2).float(), randomness(2))
    with pytest.raises(InputError, match="expected 3 "):
        augmentation(random_images(2), randomness(3))


def test_an_empty_part_stays_empty():
    augmentation = BatchAugmentation("pacs", PREPROCESSING)
    empty = augmentation(random_images(2)[:0], BatchRandomness(seed=0, step=0, first=0, count=0, total=1))
    assert empty.shape == (0, 3, 32, 32)
