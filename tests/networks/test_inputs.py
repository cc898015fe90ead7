"""What a masked network is called with: one message for what cannot be meant, nothing in the way of compiling."""

import pytest
import torch
from torch import nn

from domain_masks.errors import InputError
from domain_masks.networks import MultiHeadNetwork, Network, build_backbone, masked

COUNT, SIZE = 4, 16
DOMAINS = torch.tensor([0, 1, 2, 0])


def images(count=COUNT):
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    return {
        "masks": masked("small", 3, classes=5, image_size=SIZE).eval(),
        "heads": MultiHeadNetwork(build_backbone("small", 5), 3, "classifier.head", image_size=SIZE).eval(),
        "none": Network(build_backbone("small", 5), "classifier.head", image_size=SIZE).eval(),
    }


WRONG_DOMAINS = {
    "too high": (torch.tensor([0, 1, 2, 3]), r"4 integers in \[0, 3\), got 3: an unknown domain is None"),
    "negative": (torch.tensor([0, 1, -1, 2]), r"got -1"),
    "too few": (torch.tensor([0, 1]), r"one for each instance, got the shape \(2,\)"),
    "too many": (torch.arange(6) % 3, r"got the shape \(6,\)"),
    "of two axes": (DOMAINS[:, None], r"got the shape \(4, 1\)"),
    "one hot": (nn.functional.one_hot(DOMAINS, 3), r"got the shape \(4, 3\)"),
    "no axis": (torch.tensor(1), r"got the shape \(\)"),
    "a list": ([0, 1, 2, 0], r"got list: torch.tensor\(domains\)"),
    "a number": (1, r"got int: torch.full"),
    "an array": (DOMAINS.numpy(), "got ndarray"),
    "floating": (DOMAINS.float(), r"got torch.float32"),
    "truth values": (DOMAINS.bool(), r"got torch.bool"),
    "on another device": (DOMAINS.to("meta"), r"on cpu, where the instances are, got it on meta"),
}


@pytest.mark.parametrize("kind", ["masks", "heads"])
@pytest.mark.parametrize("name", WRONG_DOMAINS)
@pytest.mark.parametrize("training", [False, True])
def test_domains_that_cannot_be_meant(nets, kind, name, training):
    domains, message = WRONG_DOMAINS[name]
    net = nets[kind].train(training)
    try:
        with pytest.raises(InputError, match=message) as caught:
            net(images(), domains)
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match=message):
            net.task(net.features(images()), domains)
    finally:
        net.eval()


@pytest.mark.parametrize("kind", ["masks", "heads"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.int64])
def test_integers_of_any_width_are_domains(nets, kind, dtype):
    with torch.no_grad():
        expected = nets[kind](images(), DOMAINS)
        assert torch.equal(nets[kind](images(), DOMAINS.to(dtype)), expected)


WRONG_IMAGES = {
    "a list": ([torch.zeros(3, SIZE, SIZE)], r"expected images as a tensor \(N, 3, H, W\), got list: stack them"),
    "an array": (images().numpy(), "got ndarray"),
    "a single one": (
        torch.zeros(3, SIZE, SIZE),
        r"got the shape \(3, 16, 16\): a single one needs the batch axis, x\[None\]",
    ),
    "flat": (torch.zeros(4, 3 * SIZE * SIZE), r"got the shape \(4, 768\)"),
    "grey": (torch.zeros(4, 1, SIZE, SIZE), "for another number of channels pass an example_input"),
    "bytes": (torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8), r"got torch.uint8: x.float\(\), scaled and normalised"),
    "two": ((images(), images()), r"expected images .* got 2"),
    "nothing": (None, "got NoneType"),
}


@pytest.mark.parametrize("kind", ["masks", "heads", "none"])
@pytest.mark.parametrize("name", WRONG_IMAGES)
def test_images_that_cannot_be_meant(nets, kind, name):
    given, message = WRONG_IMAGES[name]
    calls = [nets[kind], nets[kind].features, *([nets[kind].domain_logits] if kind != "none" else [])]
    for call in calls:
        with pytest.raises(InputError, match=message):
            call(given)


def test_features_masks_and_noise_that_cannot_be_meant(nets):
    net = nets["masks"]
    features = net.features(images())
    with pytest.raises(InputError, match="expected the features of F as a tensor"):
        net.task([features], DOMAINS)
    soft = net.masks.probabilities()
    first, second = soft
    wrong = {
        "expected masks .* got list": list(soft.values()),
        f"got none for {second}": {first: soft[first]},
        rf"as many sets at every site, got \(2, .*\) for {second}": {first: soft[first], second: soft[second][:2]},
        rf"got \(256,\) for {first}": {first: soft[first][0], second: soft[second]},
        rf"got \(3, 255\) for {first}": {first: soft[first][:, 1:], second: soft[second]},
        f"got list for {first}": {first: soft[first].tolist(), second: soft[second]},
    }
    for message, masks in wrong.items():
        with pytest.raises(InputError, match=message):
            net.soft_logits(features, masks)
    noise = {site: torch.rand(COUNT, rows.shape[1]) for site, rows in soft.items()}
    net.train()
    try:
        for message, given in {
            f"got none for {second}": {first: noise[first]},
            rf"got \(3, 256\) for {first}": {first: noise[first][1:], second: noise[second]},
            "got Tensor$": noise[first],
        }.items():
            with pytest.raises(InputError, match=message):
                net(images(), DOMAINS, given)
        net(images(), DOMAINS, noise)
    finally:
        net.eval()


def test_an_empty_batch_is_one(nets):
    for kind in ("masks", "heads"):
        assert nets[kind](images(0), DOMAINS[:0]).shape == (0, 5)


@pytest.mark.parametrize("kind", ["masks", "heads"])
def test_checks_are_not_in_the_way_of_graphs(nets, kind):
    net = nets[kind]
    program = torch.export.export(
        net,
        (images(), DOMAINS),
        dynamic_shapes=({0: torch.export.Dim("count")}, {0: torch.export.Dim("count")}),
    )
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images(2), DOMAINS[:2]), net(images(2), DOMAINS[:2]))
    explained = torch._dynamo.explain(net)(images(), DOMAINS)
    assert explained.graph_break_count == 0


def test_traced_and_mapped_networks_are_not_in_the_way_either(nets):
    net = nets["masks"]
    with torch.no_grad():
        state = dict(net.named_parameters()) | dict(net.named_buffers())
        called = torch.func.functional_call(net, state, (images(), DOMAINS))
        assert torch.equal(called, net(images(), DOMAINS))


@pytest.mark.parametrize("domains", [0, True, 1.5, ["ink", "paper"], None])
def test_the_number_of_domains_is_a_whole_number(domains):
    with pytest.raises(InputError, match="expected domains as the number of source domains"):
        masked("small", domains, classes=5)
