from dataclasses import replace

import numpy as np
from PIL import Image

from domain_masks.data import ImageDataset, split_domains
from domain_masks.data.learned_images import learned_images


def made(contents):
    """Domains a, b and c of ten images each, in the official parts 6, 2 and 2; ``contents``: row -> the row that it equals."""
    hashes = np.arange(1, 31).repeat(16).reshape(30, 16).astype(np.uint8)
    for row, other in contents.items():
        hashes[row] = hashes[other]
    return ImageDataset(
        name="made",
        classes=("cat", "dog"),
        domains=("a", "b", "c"),
        ids=tuple(f"{'abc'[row // 10]}/{row}.png" for row in range(30)),
        labels=np.arange(30) % 2,
        domain_indices=np.arange(30) // 10,
        splits=np.array((["train"] * 6 + ["val"] * 2 + ["test"] * 2) * 3),
        open_image=lambda row: Image.new("RGB", (4, 4)),
        fingerprint="0",
        contents=hashes,
    )


def lines_of(contents, targets=("c",)):
    return learned_images(split_domains(made(contents), list(targets)))


def test_measured_images_that_are_trained_on_or_select_are_named():
    (line,) = lines_of({28: 0})
    assert line.startswith(
        "1 of 2 held-out images is also among the training images, such as c/28.png and a/0.png: leave one"
    )
    (line,) = lines_of({28: 0, 29: 16})
    assert line.startswith(
        "2 of 2 held-out images are also among the training and validation images, such as c/28.png and a/0.png"
    )
    (line,) = lines_of({28: 6})
    assert line.startswith("1 of 2 held-out images is also among the validation images, such as c/28.png and a/6.png")
    in_domain, selecting = lines_of({8: 0, 18: 6, 7: 1})
    assert in_domain.startswith("2 of 4 in-domain test images are also among the training and validation images")
    assert selecting.startswith(
        "1 of 4 validation images is also among the training images, such as a/7.png and a/1.png"
    )


def test_other_equal_images_are_not():
    assert lines_of({}, ()) == []
    # Of the same part, of test and held-out images, of held-out images that are not measured, and files that cannot be read.
    assert lines_of({}) == lines_of({1: 0}) == lines_of({8: 28}) == lines_of({20: 0}) == []
    data = made({28: 0})
    unread = data.contents.copy()
    unread[[0, 28]] = 0
    assert learned_images(split_domains(replace(data, contents=unread), ["c"])) == []


def test_images_that_were_not_identified_are_not_compared():
    assert learned_images(split_domains(replace(made({28: 0}), contents=None), ["c"])) == []
