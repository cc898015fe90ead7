import io

import numpy as np
import pytest
from PIL import Image

import generated as images
from domain_masks.analysis.galleries import THUMBNAIL, galleries, thumbnail, thumbnail_name, thumbnails
from domain_masks.evaluation import nearest_source, samples_by_domain, source_logits
from domain_masks.evaluation.by_mask import confidences
from domain_masks.records.measured_metrics import FittedTemperature
from references.predictions import CLASSES, SOURCES, generated


@pytest.fixture
def part():
    return samples_by_domain(generated(per_split=200))["sketch"]


def test_the_most_confident_mistakes_come_first(part):
    found = galleries({"sketch": part})["mistakes/sketch"]
    logits = part.of("predictions")
    sure = confidences(logits)
    wrong = [row for row in range(len(part)) if logits[row].argmax() != part.labels[row]]
    expected = sorted(wrong, key=lambda row: -sure[row])[:16]
    assert [item.id for item in found.items] == [str(part.ids[row]) for row in expected]
    for item, row in zip(found.items, expected, strict=True):
        assert item.label == CLASSES[part.labels[row]] != item.predicted
        assert item.confidence == pytest.approx(sure[row])


def test_probabilities_of_a_calibrated_model_are_those_that_it_gives(part):
    fitted = {
        name: FittedTemperature(value=value, images=100)
        for name, value in {"predictions": 0.4, "known:photo": 2.5}.items()
    }
    plain, found = galleries({"sketch": part}), galleries({"sketch": part}, temperatures=fitted)
    rows = {str(name): row for row, name in enumerate(part.ids)}
    for item in found["mistakes/sketch"].items:
        row = rows[item.id]
        assert item.confidence == pytest.approx(confidences(part.of("predictions")[row] / 0.4))
        assert item.votes["photo"].probability == pytest.approx(confidences(part.of("known:photo")[row] / 2.5))
        assert item.votes["art"].probability == pytest.approx(confidences(part.of("known:art")[row]))
    # The nearest source is found without temperatures, as its accuracy was measured.
    for name in (f"nearest/sketch/{source}" for source in SOURCES):
        assert [item.id for item in found[name].items] == [item.id for item in plain[name].items]


def test_a_row_of_images_for_each_source(part):
    nearest, sure = nearest_source(source_logits(part)), confidences(source_logits(part))
    rows = {str(name): row for row, name in enumerate(part.ids)}
    for index, source in enumerate(SOURCES):
        gallery = galleries({"sketch": part})[f"nearest/sketch/{source}"]
        assert (gallery.domain, gallery.source, len(gallery.items)) == ("sketch", source, 8)
        own = [rows[item.id] for item in gallery.items]
        assert set(nearest[own]) == {index}
        confidence = sure[index, own]
        assert (np.diff(confidence) <= 0).all()
        assert confidence[0] == sure[index, nearest == index].max()
        vote = gallery.items[0].votes[source]
        assert vote.probability == pytest.approx(confidence[0])
        assert vote.class_name == CLASSES[part.of(f"known:{source}")[own[0]].argmax()]


def test_without_masks_there_are_mistakes_without_votes():
    found = galleries({"sketch": samples_by_domain(generated(known=False))["sketch"]})
    assert list(found) == ["mistakes/sketch"]
    assert not found["mistakes/sketch"].items[0].votes


def test_without_mistakes_there_is_no_gallery_of_them(part):
    right = part.rows(part.of("predictions").argmax(1) == part.labels)
    assert "mistakes/sketch" not in galleries({"sketch": right})


def opened(content):
    return Image.open(io.BytesIO(content))


def stored(image, suffix, **options):
    content = io.BytesIO()
    image.save(content, suffix, **options)
    return opened(content.getvalue())


def test_a_thumbnail_is_small_upright_and_knows_nothing_of_its_file():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    exif[0x010F] = "the camera of somebody"
    large = Image.new("RGB", (600, 300), "red")
    small = opened(thumbnail(stored(large, "JPEG", exif=exif)))
    assert small.format == "WEBP"
    assert small.size == (THUMBNAIL // 2, THUMBNAIL)
    assert not small.getexif()
    assert "exif" not in small.info


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "CMYK", "1"])
def test_thumbnails_of_any_mode(mode):
    suffix = "TIFF" if mode == "CMYK" else "PNG"
    small = opened(thumbnail(stored(Image.new(mode, (40, 20)), suffix)))
    assert small.size == (40, 20)
    assert small.mode == "RGB"


def test_thumbnails_of_deep_images_show_the_range_that_the_network_saw():
    deep = Image.fromarray(np.full((8, 8), 2048, dtype=np.uint16))
    by_type = opened(thumbnail(stored(deep, "TIFF"))).getpixel((4, 4))
    by_range = opened(thumbnail(stored(deep, "TIFF"), (0.0, 4095.0))).getpixel((4, 4))
    assert max(by_type) < 16
    assert min(by_range) > 120


def test_images_that_cannot_be_read_are_named():
    dataset = images.dataset(per_class=2)
    found, lost = thumbnails(dataset, [dataset.ids[1], "gone.png"])
    assert list(found) == [dataset.ids[1]]
    assert lost == ["gone.png"]


def test_names_of_thumbnails_are_plain_and_differ():
    names = [thumbnail_name(name) for name in ("a/b.png", "a/b.jpg", "ピクチャ", "../x\udcff")]
    assert len(set(names)) == 4
    assert all("/" not in name and name.endswith(".webp") for name in names)
