import http.server
import os
import pickle
import socket
import threading
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from domain_masks.errors import InputError
from domain_masks.networks import BACKBONES, build_backbone, find_head, load_weights, read_weights
from domain_masks.networks.small import SmallConvNet

DATA = Path(os.environ.get("DMG_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def small_state(classes=5):
    torch.manual_seed(0)
    return SmallConvNet(classes).state_dict()


def written(folder, state, suffix=".safetensors"):
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def assert_same(network, state, leave_out=()):
    for name, value in network.state_dict().items():
        if name not in leave_out:
            torch.testing.assert_close(value, state[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("small", SmallConvNet),
        ("torchvision:shufflenet_v2_x0_5", models.ShuffleNetV2),
        ("squeezenet1_1", models.SqueezeNet),
        ("shufflenet_v2_x0_5", models.ShuffleNetV2),
    ],
)
def test_names_of_this_package_and_of_torchvision(name, kind):
    network = build_backbone(name, 6)
    assert isinstance(network, kind)
    assert network.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 6)


@pytest.mark.parametrize("name", ["timm:resnet10t", "mobilenetv3_small_050"])
def test_names_of_timm(name):
    network = build_backbone(name, 6)
    assert type(network).__module__.startswith("timm.")
    assert network.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 6)


def test_a_name_in_both_libraries_is_torchvisions():
    assert isinstance(build_backbone("shufflenet_v2_x0_5", 3), models.ShuffleNetV2)
    assert type(build_backbone("timm:resnet10t", 3)).__module__ == "timm.models.resnet"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_outputs_are_off(name):
    network = build_backbone(name, 6).train()
    assert isinstance(network(torch.randn(2, 3, 80, 80)), torch.Tensor)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "unknown backbone 'resnet19': expected one of small, .* Did you mean 'resnet18'"),
        ("timm:vit_tiny_patch16_225", "unknown backbone .* Did you mean 'timm:vit_tiny_patch16_224'"),
        ("torchvision:resnet19", "unknown torchvision backbone 'resnet19': .* Did you mean 'resnet18'"),
        ("tim:resnet18", "unknown library of backbones 'tim': .* Did you mean 'timm'"),
    ],
)
def test_unknown_names_are_suggested(name, message):
    with pytest.raises(InputError, match=message):
        build_backbone(name, 5)


def test_the_package_has_no_imagenet_weights_of_its_own():
    with pytest.raises(InputError, match=r"'small' has no ImageNet weights: use --weights none or a file"):
        build_backbone("small", 5, "imagenet")
    # Networks that a caller gave are there as well.
    own = {name for name, kind in BACKBONES.items() if kind.__module__.startswith("domain_masks.")}
    assert own == {"small"}


@pytest.mark.parametrize("name", ["small", "timm:mobilenetv3_small_050", "squeezenet1_1"])
def test_a_normal_head(name):
    torch.manual_seed(0)
    network = build_backbone(name, 50, head_initialisation="normal")
    head = network.get_submodule(find_head(network))
    assert not head.bias.any()
    weight = head.weight.detach()
    assert float(weight.std()) == pytest.approx(0.001, rel=0.05)
    assert float(weight.mean()) == pytest.approx(0.0, abs=1e-4)


def test_a_default_head_is_pytorchs():
    torch.manual_seed(0)
    head = build_backbone("small", 50).classifier.head
    assert float(head.weight.detach().abs().max()) <= 128**-0.5
    assert float(head.weight.detach().var()) == pytest.approx(1 / 128 / 3, rel=0.05)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_files_are_read_back(tmp_path, suffix):
    state = small_state()
    assert_same(build_backbone("small", 5, written(tmp_path, state, suffix)), state)
    assert_same(build_backbone("small", 5, str(written(tmp_path, state, suffix))), state)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single(tmp_path, suffix, dtype):
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in small_state().items()}
    read = read_weights(written(tmp_path, state, suffix))
    assert {value.dtype for value in read.values()} == {torch.float32, torch.int64}
    assert all(torch.equal(value, state[name].to(value.dtype)) for name, value in read.items())


@pytest.mark.parametrize("wrap", ["state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_wrapped_and_prefixed_files_are_understood(tmp_path, wrap, prefix):
    state = small_state()
    prefixed = {prefix + name: value for name, value in state.items()}
    path = written(tmp_path, {wrap: prefixed, "epoch": 3} if wrap else prefixed, ".pth")
    assert_same(build_backbone("small", 5, path), state)


def test_a_head_of_other_classes_is_left_out(tmp_path):
    state = small_state(1000)
    network = build_backbone("small", 5, written(tmp_path, state))
    assert network.classifier.head.weight.shape == (5, 128)
    assert_same(network, state, ("classifier.head.weight", "classifier.head.bias"))


def test_a_file_without_a_head_keeps_the_new_one(tmp_path):
    state = {name: value for name, value in small_state().items() if not name.startswith("classifier.head")}
    assert_same(
        build_backbone("small", 5, written(tmp_path, state)), state, ("classifier.head.weight", "classifier.head.bias")
    )


def test_all_that_does_not_fit_is_counted_and_named(tmp_path):
    state = small_state()
    del state["features.block1.0.weight"]
    state["features.block2.0.weight"] = torch.zeros(32, 16, 5, 5)
    state |= {f"decoder.{index}": torch.zeros(1) for index in range(5)}
    with pytest.raises(InputError) as caught:
        build_backbone("small", 5, written(tmp_path, state))
    message = str(caught.value)
    assert "are not those of a SmallConvNet" in message
    assert "1 tensors missing (features.block1.0.weight)" in message
    assert "5 tensors unknown to the network (decoder.0, decoder.1, decoder.2, ...)" in message
    assert "1 tensors of another shape (features.block2.0.weight)" in message


def test_a_refused_state_leaves_the_network_as_it_was():
    network = SmallConvNet(5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError, match=r"17 tensors missing"):
        load_weights(network, {"other": torch.zeros(1)}, "classifier.head", "file")
    assert_same(network, before)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_files_are_one_clear_message(tmp_path, suffix, share):
    path = written(tmp_path, small_state(), suffix)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"(truncated|damaged)"):
        read_weights(path)


def test_foreign_files_are_one_clear_message(tmp_path):
    for name in ("weights.pth", "weights.safetensors"):
        path = tmp_path / name
        path.write_text("<html>not found</html>" * 20)
        with pytest.raises(InputError, match=r"weights '.*' (cannot be read|are refused)"):
            read_weights(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(3)])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    with pytest.raises(InputError, match=r"hold no state dict: expected a mapping of names to tensors"):
        read_weights(written(tmp_path, content, ".pth"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.pth': no such file"):
        read_weights(tmp_path / "absent.pth")
    with pytest.raises(InputError, match=r"weights 'imagenett': no such file. Expected 'imagenet', 'none'"):
        build_backbone("small", 5, "imagenett")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("plain", [True, False])
def test_a_file_that_would_run_code_is_refused_and_not_run(tmp_path, plain):
    state = {**small_state(), "trap": Trap(tmp_path / "sprung")}
    path = tmp_path / "weights.pth"
    if plain:
        path.write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, path)
    with pytest.raises(InputError, match=r"are refused: the file is damaged or holds more than tensors"):
        read_weights(path)
    assert not (tmp_path / "sprung").exists()


def test_the_trap_would_have_sprung(tmp_path):
    torch.save(Trap(tmp_path / "sprung"), tmp_path / "weights.pth")
    torch.load(tmp_path / "weights.pth", weights_only=False)
    assert (tmp_path / "sprung").is_dir()


def test_a_whole_network_in_a_file_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"save it again with torch.save"):
        read_weights(tmp_path / "weights.pth")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that keeps its log to itself."""

    def log_message(self, *arguments):
        pass


@pytest.fixture
def shufflenet_from(tmp_path, monkeypatch):
    """Let torchvision fetch ShuffleNet's weights from an address of the test's own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    weights = models.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1

    def use(address):
        monkeypatch.setattr(weights.value, "url", address)

    return use


def test_imagenet_weights_are_fetched_and_get_a_new_head(tmp_path, shufflenet_from):
    torch.manual_seed(0)
    state = models.shufflenet_v2_x0_5().state_dict()
    (tmp_path / "served").mkdir()
    torch.save(state, tmp_path / "served" / "shufflenet.pth")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        shufflenet_from(f"http://127.0.0.1:{server.server_port}/shufflenet.pth")
        network = build_backbone("shufflenet_v2_x0_5", 5, "imagenet")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert network.fc.out_features == 5
    assert_same(network, state, ("fc.weight", "fc.bias"))


def test_a_download_that_fails_is_one_clear_message(shufflenet_from):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        shufflenet_from(f"http://127.0.0.1:{closed.getsockname()[1]}/shufflenet.pth")
        with pytest.raises(InputError, match=r"the ImageNet weights of 'shufflenet_v2_x0_5' could not be downloaded"):
            build_backbone("shufflenet_v2_x0_5", 5, "imagenet")


def test_weights_that_timm_does_not_have_are_one_clear_message():
    with pytest.raises(InputError, match=r"ImageNet weights of 'timm:resnet10t\.none' could not be downloaded"):
        build_backbone("timm:resnet10t.none", 5, "imagenet")


class HubError(Exception):
    """An error of a library that the hub uses, of no kind that Python knows."""

    __module__ = "httpx._exceptions"


@pytest.mark.parametrize(
    "error",
    [LocalEntryNotFoundError("offline"), ConnectionError("refused"), TimeoutError("too slow"), HubError("refused")],
)
def test_a_download_of_timm_that_fails_is_one_clear_message(monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", fail)
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_url", fail)
    with pytest.raises(InputError, match=r"'timm:resnet10t' could not be downloaded \(\w+: .*: check the connection"):
        build_backbone("timm:resnet10t", 5, "imagenet")


def test_other_errors_keep_their_traceback(monkeypatch):
    def fail(*arguments, **options):
        raise KeyError("a bug")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(KeyError):
        build_backbone("timm:resnet10t", 5)


def test_the_real_mobilenet(tmp_path):
    path = DATA / "weights" / "mobilenet_v2-imagenet1k.safetensors"
    if not path.is_file():
        pytest.skip(
            "no MobileNetV2 weights: set DMG_DATA to the folder that has weights/mobilenet_v2-imagenet1k.safetensors"
        )
    read = read_weights(path)
    assert {value.dtype for value in read.values()} <= {torch.float32, torch.int64}
    network = build_backbone("mobilenet_v2", 7, path).eval()
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert torch.equal(network.features[0][0].weight, read["features.0.0.weight"])
    assert network.classifier[1].out_features == 7
    with torch.no_grad():
        logits = network(torch.randn(2, 3, 224, 224))
    assert torch.isfinite(logits).all()
    whole = build_backbone("mobilenet_v2", 1000, path).eval()
    assert torch.equal(whole.classifier[1].weight, read["classifier.1.weight"])
