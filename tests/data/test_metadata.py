"""Images whose pixels are sound, whatever else their files hold."""

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from domain_masks.analysis.galleries import thumbnail
from domain_masks.data import to_rgb
from domain_masks.data.decoding import decode
from domain_masks.data.image_files import open_image_file
from domain_masks.data.openers import FileOpener
from domain_masks.deploy.predicting.image_inputs import open_input

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 700, 33432, 34665, 34853, 37500, 40965)


def saved(form, **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, form, **options)
    return file.getvalue()


def directory(tags, start=8):
    """A little-endian list of tags (type, count, bytes), behind the header that its offsets count from."""
    entries, values = b"", b""
    behind = start + 2 + 12 * len(tags) + 4
    for tag, (kind, count, value) in sorted(tags.items()):
        size = SIZES[kind] * count
        content = value[:size].ljust(size, b"\0")
        if size > 4:
            content, values = struct.pack("<L", behind + len(values)), values + content
        entries += struct.pack("<HHL", tag, kind, count) + content.ljust(4, b"\0")
    return struct.pack("<H", len(tags)) + entries + bytes(4) + values


def exif(tags):
    return b"Exif\0\0II*\0" + struct.pack("<L", 8) + directory(tags)


def oriented(value):
    return {274: (3, 1, struct.pack("<H", value))}


def tiff(tags):
    pixels = PIXELS.tobytes()
    own = {
        **{256: (4, 1, struct.pack("<L", 10)), 257: (4, 1, struct.pack("<L", 6)), 258: (3, 3, b"\x08\0" * 3)},
        **{259: (3, 1, b"\1\0"), 262: (3, 1, b"\2\0"), 273: (4, 1, b"\x08\0\0\0"), 277: (3, 1, b"\3\0")},
        **{278: (4, 1, b"\6\0\0\0"), 279: (4, 1, struct.pack("<L", len(pixels)))},
    }
    start = 8 + len(pixels)
    return b"II*\0" + struct.pack("<L", start) + pixels + directory({**tags, **own}, start)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunk(before, name, content):
    png = saved("PNG")
    place = png.index(before) - 4
    return png[:place] + chunk(name, content) + png[place:]


FORMS = {
    "jpeg": lambda tags: saved("JPEG", exif=exif(tags)),
    "mpo": lambda tags: saved("MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))], exif=exif(tags)),
    "webp": lambda tags: saved("WEBP", lossless=True, exif=exif(tags)),
    "png": lambda tags: with_chunk(b"IDAT", b"eXIf", exif(tags)[6:]),
    "png, EXIF behind": lambda tags: with_chunk(b"IEND", b"eXIf", exif(tags)[6:]),
    "tiff": tiff,
}


def shown(content):
    with open_image_file(io.BytesIO(content)) as image:
        return np.asarray(to_rgb(image))


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_a_resolution_in_words_does_not_hide_the_orientation(make, tmp_path):
    plain = shown(make({}))
    content = make({**oriented(6), 282: (2, 3, b"72\0")})
    assert np.array_equal(shown(content), np.rot90(plain, -1))
    file = tmp_path / "odd"
    file.write_bytes(content)
    assert decode(FileOpener(tmp_path, ("odd",)), 0, with_facts=True).problem is None
    assert decode(FileOpener(tmp_path, ("odd",)), 0).problem is None
    for opened in (open_input(str(file)), open_input(Image.open(file))):
        assert np.array_equal(np.asarray(to_rgb(opened)), shown(content))
    thumbnail(open_image_file(file))


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_whatever_the_tags_are_like_pixels_are_those_of_pillow(make):
    choose = random.Random(5)
    compared = 0
    for _ in range(60):
        tags = {}
        for tag in choose.sample(TAGS, choose.randint(0, 4)):
            kind, count = choose.choice(list(SIZES)), choose.choice([1, 1, 2, 5, 30])
            tags[tag] = (kind, count, choose.choice([choose.randbytes(300), b"72 dpi " * 40]))
        tags |= oriented(choose.randint(0, 9))
        content = make(tags)
        found = shown(content)
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
                expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except Exception:  # what this is about
            continue
        compared += 1
        assert np.array_equal(found, expected)
    assert compared > 10


BOMB = zlib.compress(bytes(5_000_000))


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"iTXt", b"note\0\1\0\0\0" + BOMB),
        (b"zTXt", b"note\0\0" + BOMB),
        (b"iCCP", b"profile\0\0" + BOMB),
        (b"iCCP", b"profile"),
        (b"iCCP", b"profile\0\7"),
        (b"pHYs", b"\0"),
        (b"gAMA", b"\0"),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0\xff\xfe"),
    ],
)
def test_texts_and_profiles_of_a_png_need_not_be_readable(before, name, content, tmp_path):
    png = with_chunk(before, name, content)
    assert np.array_equal(shown(png), PIXELS)
    file = tmp_path / "odd.png"
    file.write_bytes(png)
    with open_input(str(file)) as image:
        assert np.array_equal(np.asarray(to_rgb(image)), PIXELS)


@pytest.mark.parametrize(
    "segment",
    [
        (0xE0, b"JFIF"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"MPF\0II*\0" + bytes(4)),
        (0xEE, b"Adobe"),
        (0xE1, b"Exif\0\0nothing of the kind"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe tiff:Orientation=x"),
        (0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
    ],
)
def test_segments_of_a_jpeg_need_not_be_readable(segment):
    jpeg = saved("JPEG")
    marker, content = segment
    odd = jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]
    assert np.array_equal(shown(odd), shown(jpeg))


def test_xmp_says_the_orientation_where_exif_does_not():
    png = with_chunk(b"IDAT", b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6' tiff:Orientation=\"6\"/>")
    assert np.array_equal(shown(png), np.rot90(PIXELS, -1))


def test_a_broken_png_stays_broken_without_its_texts():
    png = with_chunk(b"IDAT", b"zTXt", b"note\0\0" + BOMB)
    with pytest.raises(OSError, match="truncated"):
        shown(png[:-40])
