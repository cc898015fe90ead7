import json
import shutil
import sys
import time
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

import domain_masks as dm
from deploy.examples import card
from domain_masks.batch import DomainBatch
from domain_masks.deploy import Unreadable, load
from domain_masks.deploy.predicting.image_stream import read_batches
from domain_masks.errors import InputError
from domain_masks.methods import METHODS
from domain_masks.methods.adaptation import Tent
from domain_masks.methods.base import known
from domain_masks.methods.method_builder import build_method
from domain_masks.records import Predictions
from domain_masks.records.measured_metrics import FittedTemperature
from domain_masks.records.test_time import AtTestTime
from methods.contract import SIZE, built, context, fitted

OF_CONTRACT = {"size": SIZE, "resize": SIZE, "square": True}
SIXTEEN = {"size": 16, "resize": 16, "square": True}


def test_predictions_of_files_are_those_of_the_run(model, run_folder, images):
    stored = Predictions.load(run_folder / "predictions.npz")
    paths = [images / name for name in stored.ids]
    logits = model.logits(paths, batch=7)
    assert set(logits) == set(stored.ensembles) == {"predictions", "masks", "weighted", "known:dots", "known:plain"}
    for name, expected in stored.logits.items():
        np.testing.assert_allclose(logits[name].numpy(), expected, rtol=0, atol=1e-5)
    for ensemble in stored.ensembles:
        predicted = model.predict(paths, ensemble=ensemble, top=2)
        assert [model.classes.index(one.class_name) for one in predicted] == stored.of(ensemble).argmax(1).tolist()
        assert [one.name for one in predicted] == [str(path) for path in paths]


def test_a_prediction_says_classes_votes_and_nearest_source(model, images):
    path = images / "stripes" / "red" / "0.png"
    (one,) = model.predict(path, top=99)
    probabilities = {name: torch.softmax(values[0].double(), 0) for name, values in model.logits(path).items()}
    best, order = probabilities["predictions"].sort(descending=True)
    assert [guess.class_name for guess in one.top] == [model.classes[index] for index in order]
    assert [guess.probability for guess in one.top] == pytest.approx(best.tolist())
    assert sum(guess.probability for guess in one.top) == pytest.approx(1)
    for source in ("dots", "plain"):
        own = probabilities[known(source)]
        assert one.votes[source].class_name == model.classes[int(own.argmax())]
        assert one.votes[source].probability == pytest.approx(float(own.max()))
    with torch.inference_mode(), Image.open(path) as image:
        features = model.method.network.features(model.preprocessing.normalize(model.preprocessing.load(image)[None]))
        (weights,) = model.method.domain_classifier(model.method.network.pooled(features))
    assert one.nearest_source == model.sources[int(weights.argmax())]
    assert one.nearest_weight == pytest.approx(float(weights.max()), abs=1e-5)
    np.testing.assert_allclose(model.domain_probabilities(path), weights[None], atol=1e-5)


def test_without_a_domain_classifier_the_surest_mask_is_the_nearest():
    model = toy_model("dmg")
    image = np.random.default_rng(3).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    (one,) = model.predict(image)
    confidence = {source: vote.probability for source, vote in one.votes.items()}
    assert one.nearest_source == max(confidence, key=confidence.get)
    assert one.nearest_weight == pytest.approx(max(confidence.values()) / sum(confidence.values()))
    assert model.domain_probabilities(image) is None
    assert (one.nearest_accuracy, model.nearest_accuracy) == (None, None)
    assert "most confident mask; its accuracy was not measured" in model.about_nearest()
    with pytest.raises(InputError, match=r"no domain classifier.*dmg evaluate RUN"):
        model.predict(image, ensemble="weighted")


def test_every_form_of_an_image_gives_the_same(model, images):
    path = images / "dots" / "green" / "1.png"
    pixels = np.array(Image.open(path))
    expected = model.logits(str(path))["predictions"]
    channels_first = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    with Image.open(path) as lazy:
        forms = [
            path,
            [path],
            (path for _ in range(1)),
            str(path).encode(),
            lazy,
            Image.fromarray(pixels),
            pixels,
            pixels[None],
            pixels.astype(np.float32) / 255,
            pixels.astype(np.float64) / 255,
            pixels[::-1][::-1],
            channels_first,
            channels_first[None],
            channels_first.float() / 255,
            [channels_first[None]],
        ]
        for form in forms:
            assert torch.equal(model.logits(form)["predictions"], expected)
    three = model.predict([np.stack([pixels, pixels]), path])
    assert [one.name for one in three] == [None, None, str(path)]
    # Rows of one batch may differ in the last digit, by processor.
    assert [one.probability for one in three] == pytest.approx([three[0].probability] * 3, rel=1e-6)


def odd_images(folder):
    """Yield images of every mode that cameras and scanners leave."""
    random = np.random.default_rng(0)
    colour = Image.fromarray(random.integers(0, 256, (40, 24, 3), dtype=np.uint8))
    grey = random.integers(0, 65536, (24, 40), dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "grey.png": (colour.convert("L"), {}),
        "alpha.png": (colour.convert("RGBA"), {}),
        "palette.gif": (colour.convert("P"), {}),
        "cmyk.jpg": (colour.convert("CMYK"), {}),
        "deep.png": (Image.fromarray(grey), {}),
        "float.tiff": (Image.fromarray((grey / 65535).astype(np.float32)), {}),
        "turned.jpg": (colour.resize((240, 400)), {"exif": exif}),
        "tall.jpg": (colour.resize((50, 700)), {}),
    }
    for name, (image, options) in files.items():
        image.save(folder / name, **options)
        yield folder / name


def test_images_of_any_mode_are_prepared_as_evaluation_does(model, tmp_path):
    paths = list(odd_images(tmp_path))
    with torch.inference_mode():
        for path in paths:
            with Image.open(path) as image:
                prepared = model.preprocessing.normalize(model.preprocessing.load(image)[None])
            expected = model.method.network.domain_logits(prepared).mean(0)
            torch.testing.assert_close(model.logits(path)["predictions"], expected, rtol=0, atol=1e-5)
    assert len(model.predict(paths)) == len(paths)


def test_an_image_of_the_callers_is_left_as_it_is(model, tmp_path):
    *_, path = odd_images(tmp_path)
    with Image.open(path) as image:
        before = image.size
        from_image, from_file = model.logits(image), model.logits(path)
        assert image.size == before
        image.load()
        assert image.size == before
    assert torch.equal(from_image["predictions"], from_file["predictions"])


def test_grey_arrays_of_8_and_16_bits(model, tmp_path):
    deep = np.random.default_rng(1).integers(0, 65536, (30, 30), dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert torch.equal(model.logits(deep)["masks"], model.logits(tmp_path / "deep.png")["masks"])
    shallow = (deep >> 8).astype(np.uint8)
    assert torch.equal(model.logits(shallow)["masks"], model.logits(torch.from_numpy(shallow)[None])["masks"])
    assert torch.equal(model.logits(shallow)["masks"], model.logits(np.stack([shallow] * 3, -1))["masks"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 8, 8), dtype=np.uint8), r"channels last, got the shape \(3, 8, 8\)"),
        (np.zeros((8, 8, 2), dtype=np.uint8), r"channels last"),
        (np.zeros(8, dtype=np.uint8), r"got the shape \(8,\)"),
        (np.zeros((0, 8, 3), dtype=np.uint8), r"at least one pixel"),
        (np.zeros((8, 8, 3), dtype=np.int64), r"uint8, .*got int64"),
        (np.full((8, 8, 3), 255.0), r"\[0, 1\], got 255 to 255: divide by 255"),
        (np.full((8, 8, 3), -0.5), r"\[0, 1\], got -0.5"),
        (np.full((8, 8, 3), np.nan), r"\[0, 1\], got nan"),
        (torch.zeros(8, 8, 3), r"channels first, got the shape \(8, 8, 3\)"),
        (torch.zeros(2, 2, 3, 8, 8), r"channels first"),
        (5, r"expected images, .*got a int"),
        ([None], r"expected an image as .*got a NoneType"),
        ({"a": 1}, r"got a dict"),
        ("nowhere.png", r"'nowhere\.png' cannot be read: there is no such file"),
        (".", r"'\.' cannot be read: it is a folder"),
        ("nul\0l", r"cannot be read"),
    ],
)
def test_what_is_no_image_is_one_clear_message(model, given, message):
    with pytest.raises(InputError, match=message):
        model.predict(given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ensemble": "prediction"}, r"unknown ensemble 'prediction'.*Did you mean 'predictions'"),
        ({"ensemble": "known:stripes"}, r"'stripes' was held out"),
        ({"ensemble": "known:dot"}, r"unknown ensemble .*Did you mean 'known:dots'"),
        ({"top": 0}, r"top: .*got 0"),
        ({"batch": True}, r"batch: .*got True"),
        ({"batch": 2.0}, r"batch: .*got 2\.0"),
    ],
)
def test_options_are_checked_before_anything_is_read(model, options, message):
    def never():
        raise AssertionError("read")
        yield

    with pytest.raises(InputError, match=message):
        model.stream(never(), **options)


def test_no_images_are_no_predictions(model):
    assert model.predict([]) == []
    assert {name: tuple(values.shape) for name, values in model.logits([]).items()} == dict.fromkeys(
        model.ensembles, (0, 3)
    )


def test_a_stream_takes_no_more_than_it_needs(model):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield np.zeros((16, 16, 3), dtype=np.uint8)

    assert len(list(islice(model.stream(endless(), batch=4), 10))) == 10
    assert len(taken) == 12


def test_unreadable_images_are_told_and_left_out(model, images, tmp_path):
    (tmp_path / "empty.png").touch()
    good = images / "dots" / "red" / "0.png"
    problems = []
    mixed = [good, tmp_path / "empty.png", Unreadable("elsewhere", "why"), "nowhere.png", good]
    found = list(model.stream(mixed, batch=2, unreadable=problems.append))
    assert [one.name for one in found] == [str(good)] * 2
    assert [(problem.name, problem.reason) for problem in problems] == [
        (str(tmp_path / "empty.png"), "the file is empty"),
        ("elsewhere", "why"),
        ("nowhere.png", "there is no such file"),
    ]


def test_threads_change_nothing(model, images):
    paths = [*sorted(images.rglob("*.png"))[:20], images / "nowhere.png"]
    alone, together = [], []
    first = list(model.stream(paths, batch=4, unreadable=alone.append))
    second = list(model.stream(paths, batch=4, workers=2, unreadable=together.append))
    assert first == second
    assert len(first) == 20
    assert alone == together
    with pytest.raises(InputError, match="channels last"):
        list(model.stream([np.zeros((3, 8, 8), dtype=np.uint8)], workers=1))


OF_DOMAINS = ("dmg", "dsbn", "multi_headed", "fusion", "csd", "tf_cnn")
"""They predict with tensors of each domain."""


@pytest.mark.parametrize(
    "name", [name if name in OF_DOMAINS else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
def test_every_method_predicts_the_same_in_threads(name):
    method = fitted(built(name))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # What belongs to a domain may be equal for all before it is trained.
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model = dm.deploy.Model(method, card(SIZE, targets=[], preprocessing=OF_CONTRACT, method={"name": name}), "cpu")
    images = list(np.random.default_rng(0).integers(0, 256, (32, SIZE, SIZE, 3), dtype=np.uint8))

    def logits(workers):
        outputs = list(model.outputs(iter(images), 2, workers))
        return {name: np.concatenate([one.logits[name] for one in outputs]) for name in outputs[0].logits}

    before, interval = logits(0), sys.getswitchinterval()
    # Threads take turns as often as they can.
    sys.setswitchinterval(1e-6)
    try:
        together = logits(4)
    finally:
        sys.setswitchinterval(interval)
    after = logits(0)
    for ensemble, expected in before.items():
        np.testing.assert_allclose(together[ensemble], expected, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(after[ensemble], expected)


class Remembering(torch.nn.Module):
    """A layer that cannot be traced, and keeps its input in an attribute while it computes."""

    def forward(self, images):
        if bool((images < 1e9).all()):
            self.kept = images
            time.sleep(0.05)
        return self.kept.clone()


def test_a_network_that_keeps_values_between_its_steps_predicts_the_same_in_threads():
    head = torch.nn.Linear(3 * 16 * 16, len(context().classes))
    network = torch.nn.Sequential(Remembering(), torch.nn.Conv2d(3, 3, 1), torch.nn.Flatten(), head)
    method = build_method("aggregate", network, context(), built("aggregate").settings, 0)
    model = dm.deploy.Model(method, card(16, targets=[], preprocessing=SIXTEEN), "cpu")
    images = list(np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8))
    one, several = ([found.top for found in model.stream(images, batch=2, workers=workers)] for workers in (0, 3))
    assert one == several


def test_processes_read_what_this_one_reads(model, images):
    items = [*sorted(images.rglob("*.png"))[:10], images / "nowhere.png", Unreadable("elsewhere", "why")]
    here, there = (list(read_batches(items, model.preprocessing, 4, workers)) for workers in (0, 2))
    assert [batch.names for batch in here] == [batch.names for batch in there]
    assert [batch.problems for batch in here] == [batch.problems for batch in there]
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
    with pytest.raises(InputError, match="channels last"):
        list(read_batches([np.zeros((3, 8, 8), dtype=np.uint8)], model.preprocessing, 4, 1))


class Viewing(torch.nn.Module):
    """A network whose flattening needs the channels-first layout."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.head = torch.nn.Linear(4 * 14 * 14, len(context().classes))

    def forward(self, images):
        return self.head(self.conv(images).view(images.shape[0], -1))


@pytest.mark.parametrize("network", [None, Viewing()])
def test_the_memory_layout_changes_nothing(network, monkeypatch):
    method = built("aggregate")
    if network is not None:
        method = build_method("aggregate", network, context(), method.settings, 0)
    model = dm.deploy.Model(method, card(16, targets=[], preprocessing=SIXTEEN), "cpu")
    assert model._computation._takes_channels_last == (network is None)
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    given = []
    real = method.predict
    monkeypatch.setattr(method, "predict", lambda batch: given.append(batch.images) or real(batch))
    (found,) = model.logits(images).values()
    (first, *_) = [images for images in given if len(images) == 16]
    assert first.is_contiguous(memory_format=torch.channels_last) == (network is None)
    prepared = model.preprocessing.normalize(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
    with torch.no_grad():
        (expected,) = real(DomainBatch(prepared, None, None, torch.arange(20))).values()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_batch_that_does_not_fit_into_memory_is_halved(model, images, monkeypatch):
    paths = sorted(images.rglob("*.png"))[:7]
    expected = model.logits(paths)
    real = model.method.predict

    def small(batch):
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(batch)

    monkeypatch.setattr(model.method, "predict", small)
    for name, values in model.logits(paths).items():
        torch.testing.assert_close(values, expected[name])
    assert model.domain_probabilities(paths).shape == (7, 2)
    monkeypatch.setattr(model.method, "predict", lambda _: small([0] * 3))
    with pytest.raises(InputError, match="not enough memory for one image"):
        model.logits(paths)


def toy_model(name):
    described = card(16, targets=[], preprocessing=SIXTEEN)
    return dm.deploy.Model(built(name), described, "cpu")


def test_a_method_without_masks_has_no_votes():
    model = toy_model("aggregate")
    (one,) = model.predict(np.zeros((20, 20), dtype=np.uint8))
    assert (one.votes, one.nearest_source, one.nearest_weight) == ({}, None, None)
    assert set(one.to_dict()) == {"path", "class", "probability", "top"}
    assert not model.has_votes
    for ensemble in ("masks", "weighted", "known:photo"):
        with pytest.raises(InputError, match="method 'aggregate' has none, expected one of predictions"):
            model.predict([], ensemble=ensemble)


def test_numbers_that_are_none_are_refused(model, monkeypatch):
    real = model.method.predict
    monkeypatch.setattr(
        model.method, "predict", lambda batch: {name: values * torch.inf for name, values in real(batch).items()}
    )
    with pytest.raises(InputError, match="contain NaN or infinity"):
        model.predict(np.full((16, 16), 200, dtype=np.uint8))


def test_a_saved_model_is_the_same_file_for_file(model, run_folder, tmp_path):
    model.save(tmp_path / "copy")
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (run_folder / name).read_bytes()
    again = load(tmp_path / "copy", device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    assert again.predict(image) == model.predict(image)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocessing": None}, "has no preprocessing.*dmg evaluate"),
        ({"preprocessing": {"size": 16}}, "expected the preprocessing settings size, resize and square"),
        ({"preprocessing": {"size": "16", "resize": 16, "square": True}}, r"preprocessing\.size: .*got '16'"),
        ({"preprocessing": {"size": 16, "resize": 10**9, "square": True}}, "at most 8192"),
        ({"preprocessing": {"size": 16, "resize": 16, "square": True, "mean": [0, 0, 1e999]}}, "Infinity is not JSON"),
        ({"preprocessing": {"size": 16, "resize": 16, "square": True, "std": [0.1, 0.1]}}, "preprocessing"),
        (
            {"preprocessing": {"size": 16, "resize": 16, "square": True, "crop": 1}},
            "unknown preprocessing setting 'crop'",
        ),
        ({"preprocessing": {"size": 8, "resize": 16, "square": True}}, "image size 16, got 8"),
    ],
)
def test_preprocessing_that_cannot_be_used_is_one_message(run_folder, tmp_path, changes, message):
    shutil.copy(run_folder / "model.safetensors", tmp_path)
    card = json.loads((run_folder / "model.json").read_text()) | changes
    (tmp_path / "model.json").write_text(json.dumps({key: value for key, value in card.items() if value is not None}))
    with pytest.raises(dm.errors.DomainMasksError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cuda:x"])
def test_a_device_that_is_not_there_is_one_message(model, device):
    with pytest.raises(InputError, match=device):
        replace_device(model, device)


def replace_device(model, device):
    before = model.device
    try:
        model.to(device)
    finally:
        model.to(str(before))


def test_the_package_loads_a_model(run_folder):
    model = dm.load(run_folder, device="cpu")
    assert "dmg on small, 3 classes, sources: dots, plain; 16 pixels, cpu" in repr(model)
    assert model.targets == ("stripes",)
    assert "deploy" in dir(dm)


def test_predictions_are_plain_data(model, images):
    (one,) = model.predict(images / "dots" / "red" / "0.png")
    assert replace(one, name="other").name == "other"
    content = json.loads(json.dumps(one.to_dict()))
    assert content["votes"]["plain"].keys() == {"class", "probability"}
    assert content["nearest_source"].keys() == {"domain", "weight", "accuracy"}
    assert content["class"] == content["top"][0]["class"] == one.class_name


def test_views_and_adaptations_are_marked_and_change_nothing_that_stays(model, images):
    paths = sorted((images / "stripes").rglob("*.png"))
    ordinary = model.predict(paths)
    calibrated = model.card.model_copy(update={"temperatures": {"predictions": FittedTemperature(value=3.0, images=9)}})
    other = dm.deploy.Model(model.method, calibrated, "cpu")
    state = {name: value.clone() for name, value in model.method.state_dict().items()}
    for option in (AtTestTime(tta="flips"), AtTestTime(adapt="batch-norm"), AtTestTime(adapt="tent", batch=8)):
        found = model.predict(paths, test_time=option)
        assert [one.name for one in found] == [str(path) for path in paths]
        assert {one.test_time for one in found} == {option.name}
        assert found[0].to_dict()["test_time"] == option.name
        assert [one.probability for one in found] != [one.probability for one in ordinary]
        # A temperature and an accuracy of ordinary predictions say nothing about these.
        assert found == other.predict(paths, test_time=option)
        assert all(one.nearest_accuracy is None for one in found)
        assert model.about_nearest(option).endswith(f"its accuracy was not measured with {option.name}")
    assert all(torch.equal(state[name], value) for name, value in model.method.state_dict().items())
    assert model.predict(paths) == ordinary
    assert all(one.test_time is None for one in ordinary)


def test_tent_predicts_batch_after_batch_in_the_order_given(model, images):
    paths = sorted((images / "stripes").rglob("*.png"))
    tent = Tent(model.method, 0.01)
    expected = []
    for start in range(0, len(paths), 8):
        read = next(iter(read_batches(paths[start : start + 8], model.preprocessing, 8, 0)))
        prepared = model.preprocessing.normalize(torch.from_numpy(read.images))
        expected += tent.output(DomainBatch(prepared, None, None, torch.arange(8))).logits["masks"].softmax(1).max(1)[0]
    found = model.predict(paths, ensemble="masks", test_time=AtTestTime(adapt="tent", rate=0.01, batch=8))
    np.testing.assert_allclose([one.probability for one in found], torch.stack(expected), rtol=1e-4)


def test_statistics_need_the_images_twice_and_several_of_them(model, images):
    paths = sorted((images / "stripes").rglob("*.png"))
    with pytest.raises(InputError, match="expected a list of them, got an iterator"):
        model.stream(iter(paths), test_time=AtTestTime(adapt="batch-norm"))
    missing = []
    list(model.stream([*paths, "gone.png"], test_time=AtTestTime(adapt="batch-norm"), unreadable=missing.append))
    assert [problem.name for problem in missing] == ["gone.png"], "named once"
    with pytest.raises(InputError, match="at least one image"):
        list(model.stream(["gone.png"], test_time=AtTestTime(adapt="batch-norm"), unreadable=missing.append))
