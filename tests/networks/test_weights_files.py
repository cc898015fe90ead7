"""State dicts out of what training loops wrap them in, and published files given by their path."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from domain_masks.errors import InputError
from domain_masks.networks import build_backbone, load_weights, read_weights
from domain_masks.networks.small import SmallConvNet


def state_of(seed: int = 0, classes: int = 5) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return SmallConvNet(classes).state_dict()


def built(content: object, tmp_path: Path, say: list[str] | None = None, name: str = "small") -> nn.Module:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    lines = [] if say is None else say
    return build_backbone(name, 5, path, say=lines.append)


def assert_is(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    own = network.state_dict()
    assert set(own) == set(state)
    assert all(torch.equal(own[name], value) for name, value in state.items())


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


STATE = state_of()
AVERAGED = state_of(1)
OTHERS = {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}, "epoch": 3}


@pytest.mark.parametrize(
    "key",
    ["state_dict", "model", "model_state_dict", "net", "network", "ema", "state_dict_ema", "model_ema", "whatever"],
)
def test_every_wrapper_is_taken_off(tmp_path: Path, key: str) -> None:
    said: list[str] = []
    assert_is(built({key: STATE, **OTHERS}, tmp_path, said), STATE)
    assert said == []


@pytest.mark.parametrize(
    "prefix",
    ["model.", "net.", "module.", "_orig_mod.", "module._orig_mod.", "model._orig_mod.", "model.backbone.net.", "a.b."],
)
def test_every_front_is_taken_off(tmp_path: Path, prefix: str) -> None:
    assert_is(built({"state_dict": prefixed(prefix, STATE)}, tmp_path), STATE)


def test_wrappers_within_wrappers(tmp_path: Path) -> None:
    assert_is(built({"checkpoint": 1, "model": {"ema": {"state_dict": prefixed("net.", STATE)}}}, tmp_path), STATE)


def test_lightning_with_its_loss(tmp_path: Path) -> None:
    said: list[str] = []
    state = {**prefixed("model.", STATE), "criterion.weight": torch.ones(5), "accuracy.tp": torch.zeros(5)}
    content = {"state_dict": state, "hyper_parameters": {"lr": 0.1}, "pytorch-lightning_version": "2.5", **OTHERS}
    assert_is(built(content, tmp_path, said), STATE)
    assert len(said) == 1
    assert "using the tensors under model., ignoring 2 other tensors (criterion.weight, accuracy.tp)" in said[0]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"state_dict": STATE, "state_dict_ema": AVERAGED}, "state_dict_ema and state_dict: using state_dict_ema"),
        ({"model": STATE, "ema": AVERAGED}, "ema and model: using ema"),
        (
            {"state_dict": {**prefixed("model.", STATE), **prefixed("ema_model.", AVERAGED)}},
            "under ema_model. and model.: using the first",
        ),
        (
            {**prefixed("encoder_q.", AVERAGED), **prefixed("encoder_k.", STATE)},
            "under encoder_q. and encoder_k.: using the first",
        ),
        ({**STATE, **prefixed("ema.", AVERAGED)}, "under ema. and its own names: using the first"),
    ],
)
def test_of_several_it_is_said_which_one_is_taken(tmp_path: Path, content: object, line: str) -> None:
    said: list[str] = []
    assert_is(built(content, tmp_path, said), AVERAGED)
    assert len(said) == 1
    assert line in said[0]


def test_without_a_listener_it_is_warned(tmp_path: Path) -> None:
    torch.save({"model": STATE, "ema": AVERAGED}, tmp_path / "w.pth")
    with pytest.warns(UserWarning, match="using ema"):
        build_backbone("small", 5, tmp_path / "w.pth")
    torch.save({"model": STATE}, tmp_path / "w.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_backbone("small", 5, tmp_path / "w.pth")


def test_several_of_no_usual_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"hold several state dicts, first and second: expected one"):
        built({"first": STATE, "second": AVERAGED}, tmp_path)


def test_an_optimiser_alone_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hold no state dict"):
        built({"optimizer_state": {"exp_avg": torch.zeros(3)}, "epoch": 3}, tmp_path)


def test_names_within_are_those_of_compiled_and_parallel_parts(tmp_path: Path) -> None:
    inner = {name.replace("features.", "features.module.", 1): value for name, value in STATE.items()}
    assert_is(built(inner, tmp_path), STATE)
    inner = {name.replace("classifier.", "classifier._orig_mod.", 1): value for name, value in STATE.items()}
    assert_is(built({"state_dict": prefixed("model.", inner)}, tmp_path), STATE)


def test_an_averaged_model_of_pytorchs_and_a_scripts_arguments(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(SmallConvNet(5))
    averaged.module.load_state_dict(STATE)
    assert_is(built(averaged.state_dict(), tmp_path), STATE)
    assert_is(built({"model": STATE, "args": argparse.Namespace(lr=0.1)}, tmp_path), STATE)


def test_a_module_called_module_keeps_its_name() -> None:
    network = nn.ModuleDict({"module": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    state = {name: torch.rand_like(value) for name, value in network.state_dict().items()}
    load_weights(network, prefixed("model.", state), "head", "file")
    assert_is(network, state)


def test_half_precision_and_versions_survive_reading(tmp_path: Path) -> None:
    state = SmallConvNet(5).half().state_dict()
    torch.save({"model": prefixed("module.", state)}, tmp_path / "w.pth")
    read = read_weights(tmp_path / "w.pth")
    assert set(read) == set(state)
    assert all(value.dtype in (torch.float32, torch.int64) for value in read.values())
