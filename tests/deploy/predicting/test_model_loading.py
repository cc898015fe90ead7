import io
import json
import os
import pickle
import resource
import shutil
import struct
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from domain_masks.deploy import load
from domain_masks.deploy.predicting.model_loading import locate
from domain_masks.errors import DomainMasksError, InputError, RunFolderError


@pytest.mark.parametrize("name", ["", "model.safetensors", "model.json"])
def test_a_folder_or_one_of_its_files_stands_for_a_model(run_folder, name):
    assert locate(run_folder / name) == run_folder
    assert locate(str(run_folder / name)) == run_folder


def test_the_two_files_are_enough(run_folder, tmp_path):
    for name in ("model.safetensors", "model.json"):
        shutil.copy(run_folder / name, tmp_path)
    assert load(tmp_path, device="cpu").classes == ("blue", "green", "red")


@pytest.mark.parametrize("name", ["best.ckpt", "weights.pth", "weights.pt", "pytorch_model.bin", "model.pkl", "A.PTH"])
def test_pickles_are_refused_unread(tmp_path, name):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    path = tmp_path / "run" / "checkpoints" / name
    path.write_bytes(b"whatever")
    with pytest.raises(InputError, match="can run code") as caught:
        load(path)
    assert repr(str(tmp_path / "run")) in str(caught.value)


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("it-ran",)


@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_a_pickle_under_another_name_is_not_run(run_folder, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    shutil.copy(run_folder / "model.json", tmp_path)
    content = io.BytesIO()
    if kind == "zip":
        torch.save({"a": RunsCode()}, content)
    else:
        content.write(pickle.dumps(RunsCode()))
    (tmp_path / "model.safetensors").write_bytes(content.getvalue())
    with pytest.raises(InputError, match=r"is a.* (pickle|zip archive), not safetensors: .*can run code"):
        load(tmp_path)
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "there is no model at 'nowhere'"),
        ("here/nowhere", "there is no model at 'here/nowhere'"),
        ("here", "there is no model in 'here': expected model.safetensors"),
        ("unfinished", "not finished: resume it with `dmg train --resume`"),
        ("notes.txt", "'notes.txt' is not a model"),
        ("", "there is no model in"),
        ("a/b/c", "there is no model at 'a/b/c'"),
        ("nul\0l", "there is no model at"),
        ("hf:nothing", "expected the name of a model after hf:"),
        ("hf:a/b@", "expected the name of a model after hf:"),
    ],
)
def test_what_is_no_model_is_one_message(tmp_path, monkeypatch, place, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "unfinished" / "checkpoints").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=message):
        load(place)


def changed(run_folder, folder, change):
    tensors = load_file(run_folder / "model.safetensors")
    change(tensors)
    shutil.copy(run_folder / "model.json", folder)
    save_file(tensors, folder / "model.safetensors")


def to_half(tensors):
    tensors["classifier.head.bias"] = tensors["classifier.head.bias"].half()


def to_nan(tensors):
    tensors["masks.classifier.head"][0, 3] = torch.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (to_half, r"classifier\.head\.bias: expected F32 \[3\], got F16 \[3\]"),
        (to_nan, r"masks\.classifier\.head contains NaN"),
        (lambda tensors: tensors.update(more=torch.zeros(2)), r"more: expected no such tensor, got F32 \[2\]"),
        (
            lambda tensors: tensors.pop("masks.classifier.head"),
            r"masks\.classifier\.head: expected F32 \[2, 128\], got none",
        ),
    ],
)
def test_tensors_that_are_not_as_the_card_says_are_refused(run_folder, tmp_path, change, message):
    changed(run_folder, tmp_path, change)
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def test_weights_are_compared_before_they_are_read(run_folder, tmp_path, monkeypatch):
    """A header that claims terabytes, and a file of the wrong size, are refused without memory for them."""
    shutil.copy(run_folder / "model.json", tmp_path)
    header = json.dumps({"huge": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path)

    def never(path):
        raise AssertionError("read")

    monkeypatch.setattr("domain_masks.methods.saving.read_tensors", never)
    save_file({"large": torch.zeros(1 << 20)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"does not fit model\.json"):
        load(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 40, struct.pack("<Q", 1 << 60), struct.pack("<Q", 9) + b"{" * 9])
def test_damaged_weights_are_one_message(run_folder, tmp_path, damage):
    shutil.copy(run_folder / "model.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(damage)
    with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("missing", ["model.safetensors", "model.json"])
def test_one_file_alone_is_one_message(run_folder, tmp_path, missing):
    for name in ("model.safetensors", "model.json"):
        if name != missing:
            shutil.copy(run_folder / name, tmp_path)
    with pytest.raises(DomainMasksError, match=missing):
        load(tmp_path)


def test_a_newer_format_says_so(run_folder, tmp_path):
    card = json.loads((run_folder / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(
        RunFolderError, match=r"newer version of domain-masks: expected format 1 or older, got 99\. Update"
    ):
        load(tmp_path)


def test_a_card_that_is_wrong_is_refused_before_its_network_has_memory(run_folder, tmp_path):
    """The largest network of timm under the sites of a small one: nothing of its size is ever made."""
    copy = shutil.copytree(run_folder, tmp_path / "copy")
    described = json.loads((copy / "model.json").read_text())
    large = "vit_giant_patch14_dinov2"
    network = {"builder": "timm", "name": large, "arguments": {}}
    (copy / "model.json").write_text(json.dumps({**described, "backbone": large, "network": network}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="unknown site"):
        load(copy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000 * (
        1000 if sys.platform == "darwin" else 1
    )
