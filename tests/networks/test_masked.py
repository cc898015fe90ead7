import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from torch.export import Dim, export

from domain_masks.errors import InputError
from domain_masks.networks import MaskedNetwork, build_backbone, masked
from references import masks as slow
from references.networks import ChannelsLast, FunctionalDropout, OwnNetwork

OWN = {
    "own": (OwnNetwork, 16, ("stage.1", "neck", "out")),
    "channels-last": (ChannelsLast, 16, ("block", "tokens", "convolution")),
    "functional-dropout": (FunctionalDropout, 8, ("second", "out")),
}
NAMED = {
    "small": 32,
    "resnet18": 64,
    "mobilenet_v2": 32,
    "timm:resnet18": 64,
    "timm:vit_tiny_patch16_224": 224,
    "convnext_tiny": 64,
    "swin_t": 64,
    "vit_b_16": 224,
}
HEAVY = ("convnext_tiny", "swin_t", "vit_b_16", "timm:resnet18")
LIGHT = ("small", *OWN)
EVERY = [
    *LIGHT,
    *(pytest.param(name, marks=pytest.mark.slow if name in HEAVY else ()) for name in NAMED if name != "small"),
]
BUILT: dict[str, MaskedNetwork] = {}
DOMAINS = 3


def normalised(backbone, size):
    """Give batch norms statistics: without, a deep untrained network forgets its images on the way to the logits."""
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            backbone.train()(torch.randn(4, 3, size, size))
    return backbone


def built(name):
    """The network under that name in evaluation mode, its masks spread around 0.5; to be left as it is."""
    if name not in BUILT:
        torch.manual_seed(0)
        if name in OWN:
            kind, size, sites = OWN[name]
            net = masked(kind(), DOMAINS, sites=sites, image_size=size)
        else:
            net = masked(normalised(build_backbone(name, 5), NAMED[name]), DOMAINS, image_size=NAMED[name])
        with torch.no_grad():
            for logits in net.masks.parameters():
                logits.normal_()
        BUILT[name] = net.eval()
    return BUILT[name]


def images_for(net, count=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, net.image_size, net.image_size, generator=generator)


def uniform_noise(net, count, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return {site.name: torch.rand(count, site.size, generator=generator) for site in net.sites}


@pytest.mark.parametrize("name", EVERY)
def test_masks_of_ones_are_the_bare_network(name):
    net = built(name)
    images = images_for(net)
    with torch.no_grad():
        bare = net.network(images)
        ones = {site.name: torch.ones(2, site.size) for site in net.sites}
        for logits in net.soft_logits(net.features(images), ones):
            torch.testing.assert_close(logits, bare, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_domain_logits_are_those_of_a_loop_over_the_domains(name):
    net = built(name)
    images = images_for(net)
    logits = {site.name: net.masks[site.name] for site in net.sites}
    axes = {site.name: site.axis for site in net.sites}
    with torch.no_grad():
        expected = torch.stack(slow.domain_logits(net.network, images, logits, axes))
        got = net.domain_logits(images)
        assert got.shape == (DOMAINS, 3, net.classes)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(expected[0], expected[1], rtol=1e-2)
        ensemble = slow.prediction_ensemble(net.network, images, logits, axes)
        torch.testing.assert_close(net(images), ensemble, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_evaluation_with_known_domains_takes_the_own_soft_mask(name):
    net = built(name)
    images, domains = images_for(net), torch.tensor([2, 0, 1])
    with torch.no_grad():
        each = net.domain_logits(images)
        expected = torch.stack([each[domain, index] for index, domain in enumerate(domains.tolist())])
        torch.testing.assert_close(net(images, domains), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net.task(net.features(images), domains), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["small", "own", "channels-last", "resnet18"])
def test_training_multiplies_the_sampled_masks(name):
    net = copy.deepcopy(built(name))
    images, domains = images_for(net), torch.tensor([2, 0, 1])
    noise = uniform_noise(net, 3)
    net.train()
    net.network.eval()  # batch norm and dropout apart, the masks alone make the difference
    with torch.no_grad():
        got = net(images, domains, noise)
        for index, domain in enumerate(domains.tolist()):
            sampled = {
                site: torch.tensor(slow.sample(logits.tolist(), [domain], noise[site][index : index + 1].tolist()))
                for site, logits in net.masks.items()
            }
            as_logits = {site: (mask - 0.5) * 400 for site, mask in sampled.items()}
            axes = {site.name: site.axis for site in net.sites}
            expected = slow.domain_logits(net.network, images[index : index + 1], as_logits, axes)[0]
            torch.testing.assert_close(got[index : index + 1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["small", "own", "channels-last"])
def test_the_noise_of_one_instance_changes_its_own_logits_alone(name):
    net = copy.deepcopy(built(name)).train()
    net.network.eval()
    images, domains = images_for(net, count=4), torch.tensor([2, 0, 1, 0])
    noise = uniform_noise(net, 4)
    other = {site: numbers.clone() for site, numbers in noise.items()}
    for site, numbers in other.items():
        numbers[1] = uniform_noise(net, 1, seed=9)[site][0]
    with torch.no_grad():
        before, after = net(images, domains, noise), net(images, domains, other)
    assert (before != after).any(1).tolist() == [False, True, False, False]


def test_training_draws_anew_and_follows_the_global_generator():
    net = copy.deepcopy(built("small")).train()
    images, domains = images_for(net), torch.tensor([2, 0, 1])
    torch.manual_seed(5)
    first = net(images, domains)
    second = net(images, domains)
    torch.manual_seed(5)
    assert torch.equal(net(images, domains), first)
    assert not torch.equal(first, second)


def test_gradients_per_sample_by_vmap_are_those_of_a_loop():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    network = masked(layers, DOMAINS, sites=["2"], example_input=torch.zeros(2, 6)).eval()
    inputs, domains = torch.randn(4, 6), torch.tensor([2, 0, 1, 2])
    parameters = dict(network.named_parameters())

    def loss(values, row, domain):
        logits = torch.func.functional_call(network, values, (row[None], domain[None]))
        return torch.logsumexp(logits, 1).sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, inputs, domains)
    for place in range(len(inputs)):
        single = torch.func.grad(loss)(parameters, inputs[place], domains[place])
        for name, gradient in single.items():
            torch.testing.assert_close(found[name][place], gradient)
    with pytest.raises(InputError, match="got 3"):
        network(inputs, domains + 1)


def test_training_needs_the_domains():
    net = copy.deepcopy(built("small")).train()
    with pytest.raises(ValueError, match="expected the domain of every training instance, got None"):
        net(images_for(net))


@pytest.mark.parametrize("domain", [-1, DOMAINS])
def test_a_domain_that_is_not_there_is_refused(domain):
    net = built("small")
    with pytest.raises(InputError, match=rf"3 integers in \[0, {DOMAINS}\), got {domain}"):
        net(images_for(net), torch.tensor([0, domain, 1]))


def test_the_boundary_does_not_change_the_masked_network():
    base = built("small")
    images, domains = images_for(base), torch.tensor([0, 1, 2])
    with torch.no_grad():
        expected = base.domain_logits(images)
        for boundary in ("features", "features.block1", "features.block3", "pool", "flatten", "classifier"):
            net = MaskedNetwork(base.network, DOMAINS, base.sites, boundary, base.image_size).eval()
            net.masks.load_state_dict(base.masks.state_dict())
            assert net.boundary == boundary
            torch.testing.assert_close(net.domain_logits(images), expected)
            torch.testing.assert_close(net(images, domains), base(images, domains))


def test_what_is_shared_runs_once_and_what_is_masked_once_for_all_domains():
    base = built("small")
    backbone = copy.deepcopy(base.network)
    net = MaskedNetwork(backbone, DOMAINS, ["classifier.hidden", "classifier.head"], "features.block2", 32).eval()
    calls = []
    for name in ("features.block1", "features.block2", "features.block3", "classifier.hidden", "classifier.head"):
        backbone.get_submodule(name).register_forward_pre_hook(
            lambda module, args, name=name: calls.append((name, len(args[0])))
        )
    with torch.no_grad():
        net.domain_logits(images_for(net, count=4))
    assert calls == [
        ("features.block1", 4),
        ("features.block2", 4),
        ("features.block3", 4),
        ("classifier.hidden", 4 * DOMAINS),
        ("classifier.head", 4 * DOMAINS),
    ]


@pytest.mark.parametrize("name", EVERY)
def test_parameter_names_survive(name):
    net = built(name)
    own = {key.removeprefix("network.") for key in net.state_dict() if key.startswith("network.")}
    assert own == set(net.network.state_dict())
    rest = {key for key in net.state_dict() if not key.startswith("network.")}
    assert rest == {"masks.logits." + site.name.replace(".", "/") for site in net.sites}


@pytest.mark.parametrize("name", [*LIGHT, pytest.param("resnet18", marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_copies_compute_the_same_and_are_independent(name, how):
    net = built(name)
    images, domains = images_for(net), torch.tensor([0, 1, 2])
    if how == "deepcopy":
        twin = copy.deepcopy(net)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(net))
    else:
        buffer = io.BytesIO()
        torch.save(net, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    with torch.no_grad():
        expected = net(images, domains)
        assert torch.equal(twin(images, domains), expected)
        assert not twin.training
        for parameter in twin.parameters():
            parameter.mul_(0.5)
        assert not torch.equal(twin(images, domains), expected)
        assert torch.equal(net(images, domains), expected)


def test_a_module_of_the_user_gives_the_number_of_classes():
    assert built("own").classes == 5


def test_a_name_needs_the_number_of_classes():
    with pytest.raises(ValueError, match="expected the number of classes"):
        masked("small", 3)


def test_the_call_of_notebooks():
    torch.manual_seed(0)
    net = masked("small", domains=4, classes=6, image_size=32)
    images = images_for(net)
    assert net.train()(images, torch.tensor([0, 3, 1])).shape == (3, 6)
    assert net.eval().domain_logits(images).shape == (4, 3, 6)
    expected = sum(slow.overlap_loss(logits.tolist()) for _, logits in net.masks.items())
    assert net.overlap_loss().item() == pytest.approx(expected, rel=1e-5)


def test_batch_norm_learns_in_training_alone():
    net = copy.deepcopy(built("own"))
    images, domains = images_for(net), torch.tensor([0, 1, 2])
    running = net.network.stage[1].running_mean
    before = running.clone()
    net(images, domains)
    net.domain_logits(images)
    assert torch.equal(running, before)
    net.train()(images, domains)
    assert not torch.equal(running, before)


@pytest.mark.parametrize("name", ["small", "own", "channels-last"])
def test_every_parameter_gets_a_gradient(name):
    net = copy.deepcopy(built(name)).train()
    images, domains = images_for(net, count=6), torch.tensor([0, 1, 2, 0, 1, 2])
    net(images, domains, uniform_noise(net, 6)).square().sum().backward()
    assert [key for key, parameter in net.named_parameters() if parameter.grad is None] == []
    for site, logits in net.masks.items():
        assert logits.grad.abs().sum(1).gt(0).all(), site


def test_gradient_of_the_masks_in_evaluation_is_the_ordinary_one():
    net = copy.deepcopy(built("small")).double()
    images, domains = images_for(net, 2).double(), torch.tensor([0, 2])
    logits = net.masks["classifier.head"]

    def loss():
        return net(images, domains).square().sum()

    loss().backward()
    step = 1e-6
    with torch.no_grad():
        for row, k in ((0, 0), (2, 5), (1, 3)):
            logits[row, k] += step
            above = loss()
            logits[row, k] -= 2 * step
            below = loss()
            logits[row, k] += step
            assert logits.grad[row, k].item() == pytest.approx((above - below).item() / (2 * step), rel=1e-4, abs=1e-7)


def test_double_precision_keeps_its_precision():
    net = copy.deepcopy(built("own")).double()
    assert net(images_for(net).double(), torch.tensor([0, 1, 2])).dtype == torch.float64


def compiled(function):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True)


@pytest.fixture
def compiler():
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        pytest.skip("no C++ compiler is installed, which torch.compile needs on a CPU")


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_evaluation_compiles_without_graph_breaks():
    net = copy.deepcopy(built("small"))
    images, domains = images_for(net), torch.tensor([0, 1, 2])
    with torch.no_grad():
        torch.testing.assert_close(compiled(net)(images, domains), net(images, domains), rtol=1e-4, atol=1e-5)
        got = compiled(net.domain_logits)(images)
        torch.testing.assert_close(got, net.domain_logits(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_training_compiles_without_graph_breaks():
    net = copy.deepcopy(built("small")).train()
    net.network.eval()
    images, domains = images_for(net, 4), torch.tensor([0, 1, 2, 0])
    noise = uniform_noise(net, 4)

    def loss(images, domains, noise):
        return net(images, domains, noise).square().mean() + net.overlap_loss()

    expected = loss(images, domains, noise)
    wanted = torch.autograd.grad(expected, list(net.parameters()))
    got = compiled(loss)(images, domains, noise)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    for gradient, other in zip(torch.autograd.grad(got, list(net.parameters())), wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_one_graph_holds_the_whole_forward(training):
    """The same without generating code: no compiler needed, and fast."""
    net = copy.deepcopy(built("small")).train(training)
    images, domains = images_for(net), torch.tensor([0, 1, 2])
    noise = uniform_noise(net, 3) if training else None
    torch._dynamo.reset()
    graph = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(graph(images, domains, noise), net(images, domains, noise))


def test_compiled_segments_compute_the_same():
    net = copy.deepcopy(built("own"))
    images, domains = images_for(net), torch.tensor([0, 1, 2])
    with torch.no_grad():
        expected = net(images, domains)
        torch._dynamo.reset()
        with pytest.MonkeyPatch.context() as patch:
            original = torch.compile
            patch.setattr(torch, "compile", lambda function, **_: original(function, backend="eager", fullgraph=True))
            net.compile_segments()
        torch.testing.assert_close(net(images, domains), expected)
        torch.testing.assert_close(copy.deepcopy(net)(images, domains), expected)


class EveryDomain(nn.Module):
    """What is exported: all domains' logits."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net.domain_logits(images)


@pytest.mark.parametrize(
    "name",
    [
        "small",
        "own",
        pytest.param("resnet18", marks=pytest.mark.slow),
        pytest.param("mobilenet_v2", marks=pytest.mark.slow),
    ],
)
def test_export_with_a_dynamic_batch(name):
    net = copy.deepcopy(built(name))
    program = export(EveryDomain(net), (images_for(net, 2),), dynamic_shapes=({0: Dim("batch", min=1, max=64)},))
    exported = program.module()
    with torch.no_grad():
        for count in (1, 2, 5):
            images = images_for(net, count, seed=count)
            torch.testing.assert_close(exported(images), net.domain_logits(images), rtol=1e-4, atol=1e-5)


def test_functional_call_uses_the_given_parameters():
    """What inner loops (MLDG) do: the same forward under other weights, with a gradient to them."""
    net = built("small")
    images, domains = images_for(net), torch.tensor([0, 1, 2])
    halved = {key: value * 0.5 for key, value in net.named_parameters()}
    got = torch.func.functional_call(net, halved, (images, domains))
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(got, twin(images, domains))
    assert not torch.equal(got, net(images, domains))
