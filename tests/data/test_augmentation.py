from collections import Counter

import pytest
import torch
from torchvision import transforms
from torchvision.transforms.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    to_pil_image,
)

from domain_masks.data import AUGMENTATIONS, BatchAugmentation, Preprocessing, Subset, load_folder, view_batches
from domain_masks.data.augmentation import _changed_at_once
from domain_masks.data.colours import ColorJitter, change_colours, planes_for
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


def colourful(count):
    """Smooth images with greys, pure colours, ties of channels, black and white in them."""
    images = random_images(count).float() / 255
    images[:, :, :4] = images[:, :1, :4]
    images[:, :, 4:10].round_()
    images[:, 1:, 10:14] = images[:, :1, 10:14].flip(3)
    return images


@pytest.mark.parametrize(
    "factors", [(1.4, 0.6, 1.3, 0.4), (0.6, 1.4, 0.0, -0.4), (1.0, 1.0, 1.0, 0.5), (2.0, 0.5, 2.0, -0.5)]
)
def test_each_change_of_colours_is_torchvisions(factors):
    images = colourful(3)
    for number, change in enumerate(_CHANGES):
        changed = images.clone()
        change_colours(changed, torch.tensor([factors] * 3), (number,), planes_for(images))
        expected = change(images, factors[number])
        torch.testing.assert_close(changed, expected, atol=1e-5, rtol=0)


def test_colours_are_torchvisions_in_an_order_of_each_images_own():
    images, random = random_images(24), randomness(24)
    found = BatchAugmentation("pacs", PREPROCESSING)(images, random)
    factors, orders = ColorJitter(0.4, 0.4, 0.4, 0.4).draw(random)
    mirrored = random.uniform("augmentation/mirror") < 0.5
    assert len({tuple(order) for order in orders.tolist()}) > 10
    assert 0 < mirrored.sum() < 24
    for row, order in enumerate(orders.tolist()):
        expected = images[row].flip(-1) if mirrored[row] else images[row]
        expected = expected.float() / 255
        for number in order:
            expected = _CHANGES[number](expected, float(factors[row, number]))
        torch.testing.assert_close(found[row], PREPROCESSING.standardize(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["pacs", "standard", "none"])
@pytest.mark.parametrize("side", [16, 160])
def test_chunks_on_cpus_equal_the_whole_batch_of_other_devices(name, side):
    images = random_images(12)
    images = torch.nn.functional.interpolate(images, (side, side)) if side != 32 else images
    augmentation, random = BatchAugmentation(name, PREPROCESSING), randomness(12)
    before = images.clone()
    found = augmentation(images, random)
    assert torch.equal(images, before)
    at_once = augmentation.preprocessing.standardize(_changed_at_once(images, augmentation._draw(random)))
    torch.testing.assert_close(found, at_once, atol=1e-5, rtol=0)
    permuted = augmentation(images.contiguous(memory_format=torch.channels_last), random)
    assert torch.equal(permuted, found)


def test_augmented_images_are_distributed_as_torchvisions(tmp_path):
    """Moments and extremes over many draws of one image, from the crop to the normalised image."""
    values = torch.nn.functional.interpolate(
        torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(5)), (48, 48), mode="bicubic"
    )
    image = to_pil_image(values[0].clamp(0, 1))
    dataset = load_folder(folder_of_copies(tmp_path, image))
    preprocessing, count = Preprocessing(size=40, resize=40, square=True), 800
    ((views, randoms),) = view_batches(Subset(dataset, [0]), preprocessing, "pacs", count, (1, 0))
    augmentation = BatchAugmentation("pacs", preprocessing)
    mine = torch.cat([augmentation(view, random) for view, random in zip(views.unbind(1), randoms, strict=True)])
    theirs_transforms = transforms.Compose(
        [
            transforms.RandomResizedCrop(40, scale=(0.8, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.4, 0.4, 0.4, 0.4),
            transforms.ToTensor(),
            transforms.Normalize(preprocessing.mean, preprocessing.std),
        ]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.stack([theirs_transforms(image) for _ in range(count)])
    for name, statistic in STATISTICS.items():
        found, expected = statistic(mine).double(), statistic(theirs).double()
        spread = expected.std(0)
        # Of two samples of 800, the means differ by 0.05 of the spread, the spreads by 0.035 of themselves, as a rule.
        assert ((found.mean(0) - expected.mean(0)).abs() < 0.2 * spread + 0.01).all(), name
        assert (found.std(0) / spread).sub(1).abs().max() < 0.15, name
        levels = torch.tensor([0.0, 0.05, 0.25, 0.75, 0.95, 1.0], dtype=torch.float64)
        width = expected.amax(0) - expected.amin(0)
        off = (found.quantile(levels, 0) - expected.quantile(levels, 0)).abs() / width
        assert off[1:-1].max() < 0.12, name
        assert off[[0, -1]].max() < 0.2, name


STATISTICS = {
    "mean of each channel": lambda images: images.mean((2, 3)),
    "deviation of each channel": lambda images: images.std((2, 3)),
    "darkest and brightest value": lambda images: torch.stack([images.amin((1, 2, 3)), images.amax((1, 2, 3))], 1),
    "left against right half": lambda images: images[..., :20].mean((2, 3)) - images[..., 20:].mean((2, 3)),
    "top against lower half": lambda images: images[:, :, :20].mean((2, 3)) - images[:, :, 20:].mean((2, 3)),
    "difference of neighbours": lambda images: images.diff(dim=3).abs().mean((2, 3)),
    "difference of channels": lambda images: images.diff(dim=1).abs().mean((2, 3)),
}


def folder_of_copies(root, image):
    for domain in ("a", "b"):
        path = root / "images" / domain / "class" / "1.png"
        path.parent.mkdir(parents=True)
        image.save(path)
    return root / "images"


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
