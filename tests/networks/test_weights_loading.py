"""Published files of older versions and of other authors, loaded into the networks of today."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models

from domain_masks.errors import InputError
from domain_masks.networks import build_backbone, load_weights
from networks.test_weights_files import assert_is


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("named", [True, False])
def test_googlenets_own_file(tmp_path: Path, suffix: str, named: bool) -> None:
    """The official file has auxiliary outputs, and its colours are transformed, as with `imagenet`."""
    state = models.googlenet(init_weights=False, aux_logits=True).state_dict()
    path = tmp_path / f"{'googlenet-1378be20' if named else 'mine'}{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    said: list[str] = []
    network = build_backbone("googlenet", 5, path, say=said.append)
    assert network.transform_input is True
    assert len(said) == 1
    assert "the form of the published weights, so the network has transform_input" in said[0]
    assert network.aux1 is None
    assert isinstance(network.train()(torch.randn(2, 3, 64, 64)), torch.Tensor)
    assert torch.equal(network.conv1.conv.weight, state["conv1.conv.weight"])


def test_googlenet_of_other_classes_takes_images_as_they_are(tmp_path: Path) -> None:
    torch.save(models.googlenet(num_classes=7, init_weights=False, aux_logits=True).state_dict(), tmp_path / "w.pth")
    assert build_backbone("googlenet", 5, tmp_path / "w.pth").transform_input is False


def older(state: dict[str, torch.Tensor], change: object) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((change(name), value) for name, value in state.items())  # type: ignore[operator]


def test_densenets_own_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = models.DenseNet(8, (2, 2), 8).state_dict()
    network = models.DenseNet(8, (2, 2), 8)
    published = older(state, lambda name: name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."))
    assert set(published) != set(state)
    load_weights(network, published, "classifier", "file")
    assert_is(network, state)


def test_names_of_an_older_version_of_vit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    make = lambda: models.VisionTransformer(32, 16, 1, 2, 16, 32, num_classes=5)  # noqa: E731
    state, network = make().state_dict(), make()
    published = older(state, lambda name: name.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."))
    assert set(published) != set(state)
    load_weights(network, published, "heads.head", "file")
    assert_is(network, state)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_mnasnet_insists_on_a_version(tmp_path: Path, suffix: str) -> None:
    state = models.mnasnet0_5().state_dict()
    path = tmp_path / f"w{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    network = build_backbone("mnasnet0_5", 5, path)
    assert torch.equal(network.layers[0].weight, state["layers.0.weight"])


def test_mnasnets_first_version_is_another_network(tmp_path: Path) -> None:
    network = models.mnasnet0_5()
    state = network.state_dict()
    state._metadata[""]["version"] = 1
    with pytest.raises(InputError, match=r"are those of an older version of MNASNet|are not those of a MNASNet"):
        load_weights(network, state, "classifier.1", "file")


def test_timms_network_takes_its_authors_names() -> None:
    """ConvNeXt's authors call its layers otherwise; timm's own conversion is used."""
    torch.manual_seed(0)
    network = timm.create_model("convnext_atto", num_classes=3)
    state = network.state_dict()
    theirs = {}
    for name, value in state.items():
        for ours, other in (("stem.", "downsample_layers.0."), ("head.norm.", "norm."), ("head.fc.", "head.")):
            if name.startswith(ours):
                name = other + name.removeprefix(ours)  # noqa: PLW2901
                break
        theirs[name] = value
    fresh = timm.create_model("convnext_atto", num_classes=3)
    try:
        load_weights(fresh, {"model." + name: value for name, value in theirs.items()}, "head.fc", "file")
    except InputError:
        pytest.skip("this version of timm converts other names")
    assert torch.equal(fresh.stem[0].weight, state["stem.0.weight"])
