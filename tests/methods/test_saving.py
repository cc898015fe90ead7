import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from domain_masks.errors import InputError, RunFolderError
from domain_masks.methods.base import Context
from domain_masks.methods.domain_classifier import DomainClassifier
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.saving import load_model, model_tensors, save_model
from domain_masks.methods.settings import method_settings
from domain_masks.methods.training_only import model_state
from domain_masks.networks import build_backbone
from domain_masks.records.model_card import ModelDescription
from methods.contract import CLASSES, SOURCES, built, context, toy_batch
from methods.engine_double import EngineDouble
from references.networks import OwnNetwork

SETTINGS = {"dmg": {"overlap_weight": 0.25, "average": "probabilities"}, "multi_headed": {"average": "probabilities"}}


def trained(name):
    method = built(name, **SETTINGS.get(name, {}))
    EngineDouble(method, steps=2).train(method, lambda step: toy_batch(seed=step, step=step))
    return method.eval()


@pytest.mark.parametrize("name", ["dmg", "aggregate", "multi_headed"])
def test_a_model_file_gives_back_the_method(tmp_path, name):
    method = trained(name)
    save_model(tmp_path, method, "small", ModelDescription(epoch=3))
    again, card = load_model(tmp_path)
    assert type(again) is type(method)
    assert not again.training
    assert again.settings == method.settings
    assert again.context.sources == SOURCES
    assert again.context.classes == CLASSES
    assert again.network.boundary == method.network.boundary
    assert again.network.sites == method.network.sites
    assert card.model_extra == {"epoch": 3}
    state = again.state_dict()
    assert state.keys() == model_state(method).keys()
    assert all(torch.equal(value, state[key]) for key, value in model_state(method).items())
    batch = toy_batch(5)
    with torch.no_grad():
        ensembles = again.predict(batch)
        for ensemble, logits in method.predict(batch).items():
            assert torch.equal(logits, ensembles[ensemble])


@pytest.mark.parametrize("name", ["dmg", "aggregate", "multi_headed"])
def test_equal_weights_are_equal_files(tmp_path, name):
    save_model(tmp_path / "first", trained(name), "small", ModelDescription(note="one"))
    save_model(tmp_path / "second", trained(name), "small", ModelDescription(note="another"))
    again, _ = load_model(tmp_path / "first")
    save_model(tmp_path / "third", again, "small", ModelDescription())
    files = {(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("first", "second", "third")}
    assert len(files) == 1
    assert not list(tmp_path.rglob("*.partial*"))


def test_the_users_parameter_names_are_those_of_the_file(tmp_path):
    save_model(tmp_path, built("dmg"), "small", ModelDescription())
    names = set(load_file(tmp_path / "model.safetensors"))
    assert names == {*build_backbone("small", 4).state_dict(), "masks.classifier.hidden", "masks.classifier.head"}


@pytest.mark.parametrize(
    "options", [{"boundary": "features.block2"}, {"sites": ("features.block3", "classifier.head")}]
)
def test_sites_and_boundary_are_kept(tmp_path, options):
    method = build_method("dmg", build_backbone("small", 4), context(**options), method_settings("dmg", {})).eval()
    save_model(tmp_path, method, "small", ModelDescription())
    again, _ = load_model(tmp_path)
    with torch.no_grad():
        for name, logits in method.predict(toy_batch(3)).items():
            assert torch.equal(again.predict(toy_batch(3))[name], logits)


def test_tied_weights_can_be_saved():
    network = OwnNetwork(4)
    network.twin = network.neck
    method = build_method("aggregate", network, context(boundary="stem"), method_settings("aggregate", {}))
    tensors = model_tensors(method)
    assert torch.equal(tensors["twin.weight"], tensors["neck.weight"])
    assert tensors["twin.weight"].data_ptr() != tensors["neck.weight"].data_ptr()


def test_saved_tensors_do_not_change_with_the_method():
    method = built("dmg")
    tensors = model_tensors(method)
    before = tensors["masks.classifier.head"].clone()
    with torch.no_grad():
        method.network.masks["classifier.head"].zero_()
    assert torch.equal(tensors["masks.classifier.head"], before)


def changed_card(folder, **changes):
    path = folder / "model.json"
    card = json.loads(path.read_text())
    for name, value in changes.items():
        if value is None:
            del card[name]
        else:
            card[name] = value
    path.write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format": 2}, RunFolderError, r"newer version.*expected format 1 or older, got 2"),
        ({"format": None}, RunFolderError, r"expected format 1 or older, got none"),
        (
            {"sources": None, "sites": None},
            RunFolderError,
            r"(?s)no model.*sources, which is missing.*sites, which is missing",
        ),
        (
            {"method": {"overlap_weight": 0.1}},
            RunFolderError,
            r"(?s)describes no model.*method\.name, which is missing",
        ),
        (
            {"method": {"name": "dgm"}},
            InputError,
            r"unknown method 'dgm', .* give its file as --plugin. Did you mean 'dmg'",
        ),
        ({"method": {"name": "dmg", "no_such": 1}}, InputError, r"method\.no_such: there is no such setting"),
        ({"backbone": "smal"}, InputError, r"unknown backbone 'smal'"),
        ({"sources": ["art", "photo"]}, InputError, r"does not fit model\.json: 2 tensors .*masks\.classifier"),
        ({"classes": ["dog"]}, InputError, r"does not fit model\.json: 2 tensors .*classifier\.head"),
    ],
)
def test_a_description_that_does_not_fit_is_one_clear_message(tmp_path, changes, error, message):
    save_model(tmp_path, built("dmg"), "small", ModelDescription())
    changed_card(tmp_path, **changes)
    with pytest.raises(error, match=message):
        load_model(tmp_path)


def test_foreign_and_missing_tensors_are_named(tmp_path):
    save_model(tmp_path, built("dmg"), "small", ModelDescription())
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["features.block1.0.weight"]
    save_file({**tensors, "extra": torch.zeros(1)}, path)
    with pytest.raises(
        InputError, match=r"2 tensors are missing, unexpected .* \(extra, features\.block1\.0\.weight\)"
    ):
        load_model(tmp_path)


def classified():
    """A DMG with a domain classifier of random weights."""
    method = built("dmg").eval()
    features = method.network.pooled(method.boundary_features(toy_batch(2)))
    method.use_domain_classifier(DomainClassifier(len(SOURCES), features.shape[1]))
    generator = torch.Generator().manual_seed(0)
    for value in method.domain_classifier.buffers():
        value.copy_(1 + torch.rand(value.shape, generator=generator))
    return method


def test_a_domain_classifier_comes_along(tmp_path):
    method = classified()
    save_model(tmp_path, method, "small", ModelDescription())
    assert "method.domain_classifier.weight" in load_file(tmp_path / "model.safetensors")
    again, _ = load_model(tmp_path)
    with torch.no_grad():
        expected, found = method.predict(toy_batch(5)), again.predict(toy_batch(5))
    assert list(found) == ["predictions", "masks", "weighted", *(f"known:{source}" for source in SOURCES)]
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_domain_classifier_that_is_not_whole_is_named(tmp_path):
    save_model(tmp_path, classified(), "small", ModelDescription())
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["method.domain_classifier.bias"] = torch.zeros(2)
    del tensors["method.domain_classifier.mean"]
    save_file(tensors, path)
    with pytest.raises(InputError, match=r"2 tensors .*domain_classifier\.bias, method\.domain_classifier\.mean"):
        load_model(tmp_path)


def test_a_method_that_cannot_be_weighted_has_no_domain_classifier(tmp_path):
    save_model(tmp_path, built("aggregate"), "small", ModelDescription())
    path = tmp_path / "model.safetensors"
    save_file({**load_file(path), "method.domain_classifier.weight": torch.zeros(3, 4)}, path)
    with pytest.raises(InputError, match=r"1 tensors .*unexpected.*method\.domain_classifier\.weight"):
        load_model(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "absent"])
def test_damaged_weights_are_one_clear_message(tmp_path, damage):
    save_model(tmp_path, built("dmg"), "small", ModelDescription())
    path = tmp_path / "model.safetensors"
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        InputError, match=r"model\.safetensors cannot be read .*: expected the weights beside model\.json"
    ):
        load_model(tmp_path)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(RunFolderError, match=r"model\.json"):
        load_model(tmp_path)


def test_one_source_is_enough(tmp_path):
    alone = Context(("photo",), CLASSES, image_size=16)
    method = build_method("dmg", build_backbone("small", 4), alone, method_settings("dmg", {}))
    save_model(tmp_path, method, "small", ModelDescription())
    again, _ = load_model(tmp_path)
    batch = replace(toy_batch(6), domains=torch.zeros(6, dtype=torch.long))
    with torch.no_grad():
        ensembles = again.predict(batch)
    assert set(ensembles) == {"predictions", "masks", "known:photo"}
    torch.testing.assert_close(ensembles["predictions"], ensembles["known:photo"])
    assert again.train().training_loss(batch)["overlap"].item() == 0
