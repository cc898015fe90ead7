"""Odd but good images train like any other; what would fill the memory is refused by name."""

from __future__ import annotations

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

import generated
from domain_masks.data import Preprocessing, Subset, evaluation_batches, load_folder, load_manifest
from domain_masks.errors import InputError
from domain_masks.training import run

SIZE = 16
RAMP = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
COLOUR = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)


def opaque(alpha=255):
    return np.full_like(RAMP, alpha)


def palette_with_transparency(path):
    image = Image.fromarray(COLOUR).quantize(16)
    image.save(path, transparency=3)


def animation(path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def turned(path):
    """Stored lying, to be shown upright: the left half of what is stored is the top of what is seen."""
    stored = np.zeros((40, 80, 3), dtype=np.uint8)
    stored[:, :40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(path, exif=exif, quality=95)


ODD = {
    "grey.jpg": lambda path: Image.fromarray(RAMP).save(path),
    "palette.png": lambda path: Image.fromarray(COLOUR).quantize(16).save(path),
    "palette-transparent.png": palette_with_transparency,
    "rgba.png": lambda path: Image.fromarray(np.dstack([COLOUR, opaque(0)])).save(path),
    "la.png": lambda path: Image.fromarray(np.dstack([RAMP, opaque(128)]), "LA").save(path),
    "cmyk.jpg": lambda path: Image.fromarray(COLOUR).convert("CMYK").save(path),
    "grey16.png": lambda path: Image.fromarray(RAMP.astype(np.uint16) * 257).save(path),
    "one-bit.png": lambda path: Image.fromarray(RAMP).convert("1").save(path),
    "turned.jpg": turned,
    "one-pixel.png": lambda path: Image.new("RGB", (1, 1), (1, 2, 3)).save(path),
    "line.png": lambda path: Image.new("RGB", (2000, 1), (200, 100, 0)).save(path),
    "animation.gif": animation,
    "lossless.webp": lambda path: Image.fromarray(COLOUR).save(path, lossless=True),
    "float.tif": lambda path: Image.fromarray(RAMP.astype(np.float32) / 255).save(path),
    "integers.tiff": lambda path: Image.fromarray(RAMP.astype(np.int32) * 100).save(path),
    "progressive.jpeg": lambda path: Image.fromarray(COLOUR).save(path, progressive=True),
    "map.ppm": lambda path: Image.fromarray(COLOUR).save(path),
    "bitmap.BMP": lambda path: Image.fromarray(COLOUR).save(path),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Every odd image in each of three domains and in two classes."""
    root = tmp_path_factory.mktemp("odd")
    for domain in ("a", "b", "c"):
        for class_name in ("x", "y"):
            (root / domain / class_name).mkdir(parents=True)
            for name, make in ODD.items():
                make(root / domain / class_name / name)
    return root


def pixels(dataset, preprocessing=None, workers=0):
    preprocessing = preprocessing or Preprocessing(SIZE, SIZE, True)
    batches = evaluation_batches(Subset(dataset, range(len(dataset))), preprocessing, 8, workers)
    stacked = np.concatenate([batch.images.numpy() for batch in batches])
    return dict(zip(dataset.ids, stacked.transpose(0, 2, 3, 1), strict=True))


def test_every_odd_image_is_found_and_looks_right(tree):
    seen = pixels(load_folder(tree))
    assert len(seen) == 6 * len(ODD)
    own = {name.removeprefix("a/x/"): image.astype(int) for name, image in seen.items() if name.startswith("a/x/")}
    ramp = own["grey.jpg"]
    for name in ("grey16.png", "float.tif"):
        assert np.abs(own[name] - ramp).max() <= 3, name
    colour = own["lossless.webp"]
    for name, margin in {
        "map.ppm": 0,
        "bitmap.BMP": 0,
        "progressive.jpeg": 12,
        "cmyk.jpg": 12,
        "palette.png": 30,
    }.items():
        assert np.abs(own[name] - colour).max() <= margin, name
    assert (own["rgba.png"] == 255).all()
    assert np.abs(own["la.png"] - (ramp * 128 + 255 * 127) // 255).max() <= 3
    assert own["turned.jpg"][:6].min() > 240
    assert own["turned.jpg"][-6:].max() < 15
    assert (own["animation.gif"] == (255, 0, 0)).all()
    assert (own["one-pixel.png"] == (1, 2, 3)).all()
    assert (own["line.png"] == (200, 100, 0)).all()
    assert own["one-bit.png"][:, 0].mean() < 60
    assert own["one-bit.png"][:, -1].mean() > 195


def test_they_train_and_are_measured(tree, tmp_path):
    config = generated.config(dataset=str(tree), target="c", epochs=1, batch=8, square=False, size=SIZE)
    finished = run(config, tmp_path / "run")
    assert finished.results.epochs_run == 1
    assert finished.results.out_of_domain.count == 2 * len(ODD)


def flat_png(path, width, height):
    """A grey image without content, written without holding it in memory."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(width // 8 + 1)
    content = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b""))


def listed(folder, name):
    (folder / "list.csv").write_text(f"path,label,domain\n{name},x,a\n")
    return load_manifest(folder / "list.csv")


def test_a_wide_scan_is_read_without_a_word(tmp_path):
    """120 million pixels: above the size from which Pillow warns."""
    flat_png(tmp_path / "scan.png", 20_000, 6_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = pixels(listed(tmp_path, "scan.png"))
    assert (seen["scan.png"] == 0).all()


def test_the_centre_of_a_wide_image_is_seen_where_it_is_not_squashed(tmp_path):
    wide = np.zeros((20, 20_000, 3), dtype=np.uint8)
    wide[:, 9_980:10_020] = (0, 200, 0)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    seen = pixels(listed(tmp_path, "wide.png"), Preprocessing(SIZE, SIZE, square=False))
    assert (seen["wide.png"] == (0, 200, 0)).all()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_would_fill_the_memory_is_refused_by_name(tmp_path, workers):
    flat_png(tmp_path / "bomb.png", 60_000, 60_000 // 8)
    with pytest.raises(InputError, match=r"'bomb.png' cannot be read \(more than 178,956,970 pixels"):
        pixels(listed(tmp_path, "bomb.png"), workers=workers)
