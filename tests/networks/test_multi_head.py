import copy
import pickle

import pytest
import torch
from torch import nn

from domain_masks.errors import InputError
from domain_masks.networks import MultiHeadNetwork, StackedLinear, build_backbone
from references.networks import OwnNetwork, ProbabilitiesLast


def built(domains=3, **options):
    torch.manual_seed(0)
    return MultiHeadNetwork(OwnNetwork(), domains, "out", image_size=16, **options).eval()


def images_of(count=4, size=16):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_the_stack_is_that_many_linear_layers():
    stack = StackedLinear(4, 6, 5)
    inputs = torch.randn(2, 6)
    for domain in range(4):
        layer = nn.Linear(6, 5)
        layer.load_state_dict({"weight": stack.weight[domain], "bias": stack.bias[domain]})
        torch.testing.assert_close(stack(inputs)[:, domain], layer(inputs))


def test_the_stack_is_drawn_as_a_linear_layer_each_domain_its_own():
    torch.manual_seed(0)
    stack = StackedLinear(3, 400, 50)
    assert stack.weight.detach().abs().max() <= 1 / 20
    assert float(stack.weight.detach().var()) == pytest.approx((1 / 20) ** 2 / 3, rel=0.05)
    assert stack.bias.detach().abs().max() <= 1 / 20
    assert not torch.equal(stack.weight[0], stack.weight[1])


def test_the_heads_of_domainnet_are_drawn_narrowly():
    net = built(head_initialisation="normal")
    assert not net.network.out.bias.any()
    assert 0 < float(net.network.out.weight.detach().abs().max()) < 0.006
    assert not torch.equal(net.network.out.weight[0], net.network.out.weight[1])


@pytest.mark.parametrize("boundary", [None, "stem", "neck", "out"])
def test_all_heads_at_once_are_a_loop_over_networks_with_one_head(boundary):
    net, images = built(boundary=boundary), images_of()
    got = net.domain_logits(images)
    assert got.shape == (3, 4, 5)
    for domain in range(3):
        single = OwnNetwork().eval()
        state = {name: value for name, value in net.network.state_dict().items() if not name.startswith("out.")}
        state |= {"out.weight": net.network.out.weight[domain], "out.bias": net.network.out.bias[domain]}
        single.load_state_dict(state)
        torch.testing.assert_close(got[domain], single(images))


def test_known_domains_take_their_own_head_and_unknown_ones_the_mean():
    net, images = built(), images_of()
    each = net.domain_logits(images)
    domains = torch.tensor([2, 0, 1, 2])
    torch.testing.assert_close(net(images, domains), each[domains, torch.arange(4)])
    torch.testing.assert_close(net(images), each.mean(0))


@pytest.mark.parametrize("domain", [-1, 3])
def test_a_domain_that_is_not_there_is_refused(domain):
    with pytest.raises(InputError, match=rf"integers in \[0, 3\), got {domain}"):
        built()(images_of(), torch.tensor([0, domain, 1, 1]))


def test_only_the_heads_of_present_domains_get_a_gradient():
    net = built()
    net(images_of(), torch.tensor([0, 2, 2, 0])).square().sum().backward()
    for gradient in (net.network.out.weight.grad, net.network.out.bias.grad):
        assert not gradient[1].any()
        assert gradient[0].any()
        assert gradient[2].any()


def test_names_and_copies():
    net, images = built(), images_of()
    assert {name.removeprefix("network.") for name in net.state_dict()} == set(OwnNetwork().state_dict())
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin.domain_logits(images), net.domain_logits(images))


def test_it_is_one_graph():
    net, images = built(), images_of()
    torch._dynamo.reset()
    graph = torch.compile(net, fullgraph=True, backend="eager")
    domains = torch.tensor([0, 2, 1, 0])
    torch.testing.assert_close(graph(images, domains), net(images, domains))


def test_a_head_that_is_no_linear_layer_is_refused():
    with pytest.raises(InputError, match=r"head 'stem' is a Sequential: expected the last linear layer"):
        MultiHeadNetwork(OwnNetwork(), 2, "stem", image_size=16)


@pytest.mark.parametrize(
    ("network", "head", "size"),
    [(OwnNetwork, "neck", 16), (ProbabilitiesLast, "head", 8), (ProbabilitiesLast, "stem", 8)],
)
def test_a_head_that_is_not_the_last_step_is_refused_and_left_in_place(network, head, size):
    backbone = network()
    with pytest.raises(InputError, match=f"head '{head}' is not the last step"):
        MultiHeadNetwork(backbone, 2, head, image_size=size)
    assert isinstance(backbone.get_submodule(head), nn.Linear)
    assert not backbone.get_submodule(head)._forward_hooks


def test_an_unknown_head_is_named_with_a_suggestion():
    with pytest.raises(InputError, match=r"unknown head 'outt': .* Did you mean 'out'"):
        MultiHeadNetwork(OwnNetwork(), 2, "outt", "stem", 16)


def test_networks_by_name():
    net = MultiHeadNetwork(build_backbone("small", 5), 3, "classifier.head", "classifier.hidden", 32).eval()
    assert net.domain_logits(images_of(2, 32)).shape == (3, 2, 5)
    assert isinstance(net.network.classifier.head, StackedLinear)
