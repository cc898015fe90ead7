import json

import numpy as np
import pytest
import torch
from PIL import Image

from domain_masks.data import Preprocessing, to_rgb
from domain_masks.data.image_files import jpeg_pixels
from domain_masks.errors import InputError

WHOLE = Preprocessing(size=8, resize=8, square=True)


def colour(image):
    """The one colour of an image, as to_rgb shows it."""
    rgb = to_rgb(image)
    assert rgb.mode == "RGB"
    colours = rgb.getcolors()
    assert len(colours) == 1
    return colours[0][1]


def sixteen_bits(value):
    return Image.fromarray(np.full((4, 4), value, dtype=np.uint16))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("L", (4, 4), 90), (90, 90, 90)),
        (Image.new("LA", (4, 4), (0, 0)), (255, 255, 255)),
        (Image.new("LA", (4, 4), (90, 255)), (90, 90, 90)),
        (Image.new("La", (4, 4), (0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("RGBa", (4, 4), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("CMYK", (4, 4), (0, 255, 255, 0)), (255, 0, 0)),
        (Image.new("HSV", (4, 4), (0, 255, 255)), (255, 0, 0)),
        (Image.new("YCbCr", (4, 4), (90, 128, 128)), (90, 90, 90)),
        (sixteen_bits(65535), (255, 255, 255)),
        (sixteen_bits(257 * 90), (90, 90, 90)),
        (sixteen_bits(200), (1, 1, 1)),
        (Image.new("I", (4, 4), 200), (255 * 200 // 255,) * 3),
        (Image.new("I", (4, 4), 257 * 90), (90, 90, 90)),
        (Image.new("I", (4, 4), 2**30), (255, 255, 255)),
        (Image.new("F", (4, 4), 0.5), (128, 128, 128)),
        (Image.new("F", (4, 4), 90.0), (90, 90, 90)),
        (Image.new("F", (4, 4), 257.0 * 90), (90, 90, 90)),
        (Image.new("F", (4, 4), -3.0), (0, 0, 0)),
        (Image.new("F", (4, 4), float("nan")), (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(image, expected):
    assert colour(image) == expected


def test_palettes_and_transparent_colours(tmp_path):
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert colour(palette) == (10, 20, 30)
    for name, image, transparent in (
        ("palette", palette, 1),
        ("grey", Image.new("L", (4, 4), 7), 7),
        ("colour", Image.new("RGB", (4, 4), (1, 2, 3)), (1, 2, 3)),
    ):
        image.save(tmp_path / f"{name}.png", transparency=transparent)
        with Image.open(tmp_path / f"{name}.png") as reopened:
            assert colour(reopened) == (255, 255, 255)


def test_camera_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (16, 8), (255, 0, 0))
    image.paste((0, 0, 255), (8, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as reopened:
        upright = to_rgb(reopened)
    assert upright.size == (8, 16)
    assert upright.getpixel((4, 2)) == (255, 0, 0)
    assert upright.getpixel((4, 14)) == (0, 0, 255)


def test_sizes_and_types():
    preprocessing = Preprocessing(size=112, resize=128, square=False)
    image = Image.new("RGB", (300, 200))
    assert preprocessing.load(image).shape == (3, 112, 112)
    assert preprocessing.load(image).dtype == torch.uint8
    assert preprocessing.load_size == 128
    assert preprocessing.parts(image, lambda width, height: [(0, 0, width, height)] * 2).shape == (2, 112, 112, 3)
    assert Preprocessing(size=32, resize=32, square=True, training_size=32).load_size == 32


def test_square_squashes_and_otherwise_the_centre_is_cut():
    image = Image.new("RGB", (30, 10), (255, 0, 0))
    image.paste((0, 255, 0), (10, 0, 20, 10))
    squashed = WHOLE.load(image)
    assert squashed[:, 4, 0].tolist() == [255, 0, 0]
    cut = Preprocessing(size=8, resize=8, square=False).load(image)
    assert (cut[1, :, 1:-1] == 255).all()
    assert (cut[0, :, 1:-1] == 0).all()


def test_evaluation_sees_the_central_part():
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1)))
    image = Preprocessing(size=224, resize=256, square=False).load(ramp)
    assert image[0, 0].tolist() == list(range(16, 240))


def test_large_jpegs_look_the_same_as_without_reduced_decoding(tmp_path):
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 256, (8, 12, 3), dtype=np.uint8)).resize((900, 600), 2)
    smooth.save(tmp_path / "large.jpg", quality=95)
    with Image.open(tmp_path / "large.jpg") as image:
        reduced = WHOLE.load(image).float()
        assert image.size != (900, 600)
    with Image.open(tmp_path / "large.jpg") as image:
        whole = WHOLE.load(image.convert("RGB")).float()
    difference = (reduced - whole).abs()
    assert difference.max() <= 6
    assert difference.mean() <= 1.5


@pytest.mark.parametrize("size", [40, 100, 200])
def test_jpegs_are_decoded_at_twice_the_size_that_is_needed_at_least(tmp_path, size):
    Image.new("RGB", (900, 600)).save(tmp_path / "large.jpg")
    with Image.open(tmp_path / "large.jpg") as image:
        Preprocessing(size=size, resize=size, square=True).load(image)
        assert min(image.size) >= 2 * size


def test_the_centre_is_that_of_an_odd_margin_too():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 13, 3), dtype=np.uint8))
    centre = Preprocessing(size=8, resize=8, square=False)
    mirrored = centre.load(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).flip(-1)
    assert (centre.load(image).int() - mirrored.int()).abs().max() <= 1


def test_normalisation_matches_its_formula():
    images = torch.arange(3 * 256, dtype=torch.uint8).reshape(1, 3, 16, 16)
    result = WHOLE.normalize(images)
    assert result.dtype == torch.float32
    for channel in range(3):
        expected = (images[0, channel].double() / 255 - WHOLE.mean[channel]) / WHOLE.std[channel]
        torch.testing.assert_close(result[0, channel].double(), expected, atol=1e-6, rtol=0)
    with pytest.raises(InputError, match="uint8"):
        WHOLE.normalize(images.float())


def test_settings_survive_json():
    preprocessing = Preprocessing(112, 128, False, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 120)
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing
    with pytest.raises(InputError, match="Did you mean 'resize'"):
        Preprocessing.from_dict({"size": 8, "resise": 8, "square": True})
    with pytest.raises(InputError, match="got no square"):
        Preprocessing.from_dict({"size": 8, "resize": 8})


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 0, "resize": 8},
        {"size": 8, "resize": 7},
        {"size": 8, "resize": 8, "training_size": 7},
        {"size": 8, "resize": 8, "std": (0.0, 1.0, 1.0)},
    ],
)
def test_settings_that_do_not_fit_are_refused(settings):
    with pytest.raises(InputError, match="expected"):
        Preprocessing(square=True, **settings)


def saved_jpeg(path, mode="RGB", **options):
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    coarse.resize((150, 101), Image.Resampling.BICUBIC).convert(mode).save(path, **options)
    return path


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_files_are_decoded_as_pillow_decodes_them(tmp_path, subsampling, progressive):
    pytest.importorskip("simplejpeg")
    path = saved_jpeg(tmp_path / "1.jpg", subsampling=subsampling, progressive=progressive, quality=85)
    with Image.open(path) as image:
        found = jpeg_pixels(image)
        # And Pillow can still decode it.
        np.testing.assert_array_equal(found, np.asarray(to_rgb(image)))


def test_other_files_are_left_to_pillow(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    paths = [
        saved_jpeg(tmp_path / "grey.jpg", "L"),
        saved_jpeg(tmp_path / "cmyk.jpg", "CMYK"),
        saved_jpeg(tmp_path / "turned.jpg", exif=turned),
        saved_jpeg(tmp_path / "1.png"),
    ]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(saved_jpeg(tmp_path / "1.jpg").read_bytes()[:2500])
    for path in (*paths, broken):
        with Image.open(path) as image:
            assert jpeg_pixels(image) is None
    with Image.open(broken) as image, pytest.raises(OSError, match="truncated"):
        WHOLE.parts(image, lambda width, height: [(0, 0, width, height)])
    for path in paths:
        with Image.open(path) as image:
            (seen,) = WHOLE.parts(image, lambda width, height: [(0, 0, width, height)])
        with Image.open(path) as image:
            np.testing.assert_allclose(seen.astype(int), WHOLE.evaluation_pixels(image).astype(int), atol=1)
