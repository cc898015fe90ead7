"""Images to compare a file on: of files, and generated ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deploy.examples import card
from domain_masks.deploy.exporting.parity_images import (
    ParityImages,
    generated_images,
    images_of_files,
)
from domain_masks.deploy.predicting.model import preprocessing_of
from domain_masks.errors import InputError

PREPROCESSING = preprocessing_of(card())


def test_images_are_read_whole_and_prepared_as_the_model_sees_them(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 200), dtype=np.uint8))
    image.save(tmp_path / "grey.jpg")
    parity_images = images_of_files([tmp_path / "grey.jpg"], PREPROCESSING)
    (parity_image,) = parity_images.images
    assert parity_image.raw.shape == (1, 3, 300, 200)
    assert parity_image.prepared.shape == (3, 32, 32)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"text\.jpg' cannot be read"):
        images_of_files([tmp_path / "text.jpg"], PREPROCESSING)


def test_generated_images_have_several_sizes_and_are_always_the_same() -> None:
    first, second = generated_images(PREPROCESSING), generated_images(PREPROCESSING)
    assert len({tuple(one.raw.shape) for one in first.images}) > 2
    assert all(torch.equal(one.raw, other.raw) for one, other in zip(first.images, second.images, strict=True))
    assert "generated" in first.origin
    assert isinstance(first, ParityImages)
