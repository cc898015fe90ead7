"""The layers of a network, from the input to the last one."""

from __future__ import annotations

import pytest

from domain_masks.networks import build_backbone
from domain_masks.networks.depth import module_depths, parameter_depths

FIRST_OF_EACH: dict[str, dict[int, str]] = {
    "small": {
        0: "features.block1.0.weight",
        1: "features.block2.0.weight",
        3: "classifier.hidden.weight",
        4: "classifier.head.weight",
    },
    "resnet18": {0: "conv1.weight", 1: "layer1.0.conv1.weight", 8: "layer4.1.conv1.weight", 9: "fc.weight"},
    "alexnet": {0: "features.0.weight", 5: "classifier.1.weight", 7: "classifier.6.weight"},
    "vit_b_16": {0: "class_token", 12: "encoder.layers.encoder_layer_11.ln_1.weight", 13: "heads.head.weight"},
    "timm:vit_tiny_patch16_224": {0: "cls_token", 12: "blocks.11.norm1.weight", 13: "head.weight"},
}


@pytest.mark.parametrize("name", FIRST_OF_EACH)
def test_every_parameter_has_the_layer_of_its_block(name: str) -> None:
    network = build_backbone(name, 4)
    depths = parameter_depths(network)
    assert set(depths) == {parameter for parameter, _ in network.named_parameters()}
    first: dict[int, str] = {}
    for parameter, depth in depths.items():
        first.setdefault(depth, parameter)
    assert sorted(first) == list(range(max(FIRST_OF_EACH[name]) + 1))
    assert {depth: first[depth] for depth in FIRST_OF_EACH[name]} == FIRST_OF_EACH[name]


def test_normalisation_belongs_to_the_layer_before_it() -> None:
    depths = parameter_depths(build_backbone("resnet18", 4))
    assert depths["bn1.weight"] == depths["conv1.weight"]
    assert depths["layer2.0.downsample.1.weight"] == depths["layer2.0.conv1.weight"]
    last_norm = parameter_depths(build_backbone("vit_b_16", 4))["encoder.ln.weight"]
    assert last_norm == 12


def test_a_module_has_the_layer_of_its_parameters_or_of_the_module_before_it() -> None:
    depths = module_depths(build_backbone("small", 4))
    assert (depths["features.block2.0"], depths["features.block2.1"], depths["features.block2.3"]) == (1, 1, 1)
    assert depths["features"] == depths[""] == 0, "the lowest of its layers"
    assert depths["pool"] == depths["features.block3"] == 2
    assert depths["classifier.dropout"] == depths["classifier.hidden"] == 3
    blocks = module_depths(build_backbone("vit_b_16", 4))
    assert blocks["encoder.layers.encoder_layer_3.dropout"] == blocks["encoder.layers.encoder_layer_3.mlp"] == 4
