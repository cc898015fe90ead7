import json
import time

import pytest
import torch

from domain_masks.batch import DomainBatch
from domain_masks.errors import DomainMasksError, RunFolderError
from domain_masks.methods import Context, saving
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.saving import load_model, save_model
from domain_masks.methods.settings import method_settings
from domain_masks.networks import backbones, build_backbone
from domain_masks.networks.small import SmallConvNet
from domain_masks.records import model_card
from domain_masks.records.model_card import ModelCard, ModelDescription
from methods.contract import CLASSES, SOURCES, built

ODD = [None, True, 0, -1, 1.5, 10**30, "", "x", "\ud800", "a" * 10_000, [], [None], [[]], [1], {}, {"a": 1}, [{"a": 1}]]
NESTED = [
    ("sites", 0, "size"),
    ("sites", 0, "axis"),
    ("sites", 0, "name"),
    ("sites", 0),
    ("method", "name"),
    ("method", "average"),
]
MEANING_THE_SAME = [
    (("sites",), []),  # the network's default
    (("sites", 0, "axis"), -1),  # the last of two
]
KEYS = ("format", "backbone", "classes", "sources", "image_size", "boundary", "sites", "method")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, built("dmg"), "small", ModelDescription(dataset="toys"))
    return folder


@pytest.fixture
def changed(folder, tmp_path):
    """Return what writes the model's card with something else at a place in it."""

    def change(place, value):
        card = json.loads((folder / "model.json").read_text())
        inner = card
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        (tmp_path / "model.json").write_text(json.dumps(card))
        (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
        return tmp_path

    return change


@pytest.mark.parametrize("place", [*((key,) for key in KEYS), *NESTED], ids=str)
def test_odd_values_anywhere_are_one_clear_message(changed, place):
    for value in ODD:
        if (place, value) in MEANING_THE_SAME:
            continue
        if place == ("format",) and value is True:
            continue
        with pytest.raises(DomainMasksError, match=r"model\.json") as caught:
            load_model(changed(place, value))
        assert len(str(caught.value)) < 3_000


@pytest.mark.parametrize(
    "key",
    ["version", "dataset", "targets", "trained_on", "preprocessing", "protocol", "training", "accuracies", "masks"],
)
def test_what_only_informs_has_to_have_its_form(changed, key):
    for value in (5, "x" * 2_000, [{}], {"a": 1}, {"a": {"accuracy": 2}}):
        is_anything = key in ("preprocessing", "training") and isinstance(value, dict)
        if is_anything or (key == "masks" and value == {"a": {"accuracy": 2}}):
            continue
        with pytest.raises(RunFolderError, match=key):
            load_model(changed((key,), value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", [str(number) for number in range(100_001)]),
        ("sources", [str(number) for number in range(1_001)]),
        ("image_size", 4_097),
        ("sites", [{"name": "a", "axis": 1, "size": 10**9}]),
        ("classes", ["a", "a"]),
        ("sources", ["a", "a"]),
    ],
)
def test_sizes_that_no_model_has_are_refused_before_a_network_is_built(changed, monkeypatch, key, value):
    def never(*_):
        raise AssertionError("built")

    monkeypatch.setattr(saving, "build_architecture", never)
    with pytest.raises(RunFolderError, match=key):
        load_model(changed((key,), value))


def test_a_large_network_is_compared_without_its_memory(changed):
    """With 90,000 classes the head alone would take 46 MB; its shape is compared with the file on the meta device."""
    names = [f"class {number}" for number in range(90_000)]
    began = time.monotonic()
    with pytest.raises(DomainMasksError, match=r"classifier\.head\.bias: expected F32 \[90000\], got F32 \[4\]"):
        load_model(changed(("classes",), names))
    assert time.monotonic() - began < 60


def test_a_large_file_is_no_card(tmp_path, monkeypatch):
    monkeypatch.setattr(model_card, "MOST_BYTES", 100)
    (tmp_path / "model.json").write_text("[" * 200)
    with pytest.raises(RunFolderError, match="at most 100 bytes, got 200"):
        ModelCard.read(tmp_path / "model.json")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "[" * 100_000, '{"a": NaN}', "\x00", '{"format": 1' + "0" * 5_000 + "}"]
)
def test_what_is_no_json_object_is_one_message(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"model\.json"):
        ModelCard.read(tmp_path / "model.json")


def test_a_card_of_an_older_version_is_read(folder, tmp_path, monkeypatch):
    """The first cards had no version, masks and training; a format that this version no longer writes is read as well."""
    card = json.loads((folder / "model.json").read_text())
    assert card.pop("version")
    assert card["format"] == 1
    card["something newer"] = {"a": [1]}
    (tmp_path / "model.json").write_text(json.dumps(card))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    monkeypatch.setattr(ModelCard, "newest", 7)
    method, read = load_model(tmp_path)
    assert read.to_dict() == {**card, "format": 7}
    expected, _ = load_model(folder)
    assert all(torch.equal(value, method.state_dict()[name]) for name, value in expected.state_dict().items())


def test_loading_initialises_nothing_and_asks_for_no_weights(folder, monkeypatch):
    def never(*_, **__):
        raise AssertionError("initialised or downloaded")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", never)
    drawn = torch.get_rng_state()
    devices, built_on = set(), set()
    real = torch.nn.Module.register_parameter

    def noting(self, name, parameter):
        devices.add(str(parameter.device) if parameter is not None else "none")
        real(self, name, parameter)

    monkeypatch.setattr(torch.nn.Module, "register_parameter", noting)
    compared = saving.check_forms

    def noting_when(*arguments):
        built_on.update(devices)
        compared(*arguments)

    monkeypatch.setattr(saving, "check_forms", noting_when)
    method, _ = load_model(folder)
    assert built_on == {"meta", "none"}
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not any(tensor.is_meta for tensor in (*method.parameters(), *method.buffers()))
    assert all(parameter.requires_grad for parameter in method.parameters())


class ReadsNumbers(SmallConvNet):
    """A network that looks at values while it is made, which the meta device does not have."""

    def __init__(self, classes):
        super().__init__(classes)
        self.factor = float(torch.linspace(1, 2, 2)[1])


class KeepsTables(SmallConvNet):
    """A network with tensors that no file holds."""

    def __init__(self, classes):
        super().__init__(classes)
        self.register_buffer("table", torch.tensor([0.5, 2.0]), persistent=False)
        self.plain = torch.tensor([3.0])

    def forward(self, images):
        return super().forward(images * self.table[1] + self.plain.item())


@pytest.mark.parametrize("kind", [ReadsNumbers, KeepsTables])
def test_networks_that_the_meta_device_cannot_make_are_built_for_real(tmp_path, monkeypatch, kind):
    monkeypatch.setitem(backbones.BACKBONES, "odd", kind)
    sites = ("classifier.hidden", "classifier.head")
    context = Context(SOURCES, CLASSES, image_size=16, sites=sites)
    method = build_method("dmg", build_backbone("odd", 4), context, method_settings("dmg", {})).eval()
    save_model(tmp_path, method, "odd", ModelDescription())
    again, _ = load_model(tmp_path)
    for name, value in method.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    if kind is KeepsTables:
        assert torch.equal(again.network.network.table, torch.tensor([0.5, 2.0]))
        assert torch.equal(again.network.network.plain, torch.tensor([3.0]))
    else:
        assert again.network.network.factor == 2.0


def test_a_network_that_cannot_be_made_is_one_message(folder, monkeypatch):
    def broken(_):
        raise ZeroDivisionError("a")

    monkeypatch.setitem(backbones.BACKBONES, "small", broken)
    with pytest.raises(DomainMasksError, match=r"network 'small' cannot be built \(ZeroDivisionError: a\)"):
        load_model(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regnet_y_400mf", "timm:swin_tiny_patch4_window7_224", "inception_v3"])
def test_networks_of_every_kind_come_back(tmp_path, name):
    size = 299 if name == "inception_v3" else 224
    context = Context(SOURCES, CLASSES, image_size=size)
    method = build_method("dmg", build_backbone(name, len(CLASSES)), context, method_settings("dmg", {})).eval()
    save_model(tmp_path, method, name, ModelDescription())
    again, _ = load_model(tmp_path)
    batch = DomainBatch(torch.randn(2, 3, size, size), None, None, torch.arange(2))
    with torch.inference_mode():
        for ensemble, logits in method.predict(batch).items():
            torch.testing.assert_close(again.predict(batch)[ensemble], logits)
