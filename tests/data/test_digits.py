import pickle

import numpy as np
from sklearn.datasets import load_digits

from domain_masks.data import digits, load_digits_dataset


def test_originals_are_those_of_scikit_learn_however_they_are_read(monkeypatch):
    expected = load_digits()
    for found in (digits.find_spec, lambda name: None):
        monkeypatch.setattr(digits, "find_spec", found)
        grids, shown = digits.originals()
        assert (grids == expected.images).all()
        assert (shown == expected.target).all()
        assert (grids.dtype, shown.dtype) == (np.float64, np.int64)


def test_every_original_digit_is_in_exactly_one_domain():
    dataset = load_digits_dataset()
    assert len(dataset) == 1797
    assert dataset.domains == ("ink", "paper", "outline", "mosaic")
    rows = [int(name.split("/")[2].removesuffix(".png")) for name in dataset.ids]
    assert sorted(rows) == list(range(1797))
    assert dataset.labels.tolist() == load_digits().target[rows].tolist()


def test_domains_are_stratified_by_class():
    dataset = load_digits_dataset()
    counts = np.zeros((4, 10), dtype=int)
    np.add.at(counts, (dataset.domain_indices, dataset.labels), 1)
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_images_are_small_rgb_and_rendered_the_same_every_time():
    dataset = load_digits_dataset()
    again = load_digits_dataset.__wrapped__()
    assert again is not dataset
    assert again.fingerprint == dataset.fingerprint
    assert (again.open_image.pixels == dataset.open_image.pixels).all()
    image = dataset.open_image(1000)
    assert (image.size, image.mode) == ((32, 32), "RGB")
    assert pickle.loads(pickle.dumps(dataset.open_image))(1000).tobytes() == image.tobytes()


def test_domains_look_different():
    dataset = load_digits_dataset()
    pixels = dataset.open_image.pixels.astype(float)
    ink, paper, outline, mosaic = (pixels[dataset.domain_indices == index] for index in range(4))
    assert (ink[..., 0] == ink[..., 1]).all()
    assert (ink.mean(axis=(1, 2, 3)) < 128).all()
    assert paper.mean() > 140
    assert (np.ptp(paper, axis=-1).mean(axis=(1, 2)) > 5).all()
    # Most of an outline image is one flat colour, none of a mosaic is.
    assert all((image == image[0, 0]).all(axis=-1).mean() > 0.6 for image in outline)
    assert all((image == image[0, 0]).all(axis=-1).mean() < 0.2 for image in mosaic)
