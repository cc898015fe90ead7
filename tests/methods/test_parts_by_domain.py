"""Batch norm and adapters by domain: their characteristic terms, limits, and what they refuse."""

import copy

import pytest
import torch
from torch import nn

import generated
from domain_masks.errors import InputError
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from domain_masks.networks.adapted import AdaptedNetwork, low_rank
from domain_masks.networks.normalised import DomainBatchNorm, NormalisedNetwork, OfDomains
from domain_masks.training import run
from methods.contract import SOURCES, built, learn, steps_of, still, toy_batch
from references import parts_by_domain as slow
from training.test_phases import Silent


def layer(channels=4, domains=3, seed=0):
    torch.manual_seed(seed)
    made = DomainBatchNorm(nn.BatchNorm2d(channels), domains)
    with torch.no_grad():
        made.weight.uniform_(0.5, 1.5)
        made.bias.normal_()
    return made


def rows(count=11, channels=4, seed=1):
    torch.manual_seed(seed)
    domains = torch.tensor([0, 1, 2, 0, 2, 2, 1, 0, 2, 0, 1])[:count]
    return 3 * torch.randn(count, channels, 5, 2) + domains[:, None, None, None], domains


@pytest.mark.parametrize("share", [None, torch.tensor([0.2, 0.7, 1.0])])
def test_batch_norm_by_domain_is_that_of_each_domains_rows(share):
    norm, (images, domains) = layer().train(), rows()
    images.requires_grad_()
    result = norm(OfDomains(images, domains, None if share is None else share[domains]))
    expected = slow.batch_norm(images, domains, norm.weight, norm.bias, norm.eps, share)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(result)
    found, wanted = (
        torch.autograd.grad((out * weights).sum(), [images, norm.weight], retain_graph=True)
        for out in (result, expected)
    )
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.3, None])
def test_statistics_of_each_domain_run_as_pytorchs_own_of_its_rows(momentum):
    norm, torchs = layer().train(), [nn.BatchNorm2d(4, momentum=momentum) for _ in range(3)]
    norm.momentum = momentum
    for seed in range(3):
        images, domains = rows(seed=seed, count=11 - seed)
        # The last batch has no row of the second domain.
        keep = domains != 1 if seed == 2 else domains >= 0
        norm(OfDomains(images[keep], domains[keep], None))
        for domain, single in enumerate(torchs):
            if (mine := keep & (domains == domain)).any():
                single.train()(images[mine])
    for domain, single in enumerate(torchs):
        torch.testing.assert_close(norm.running_mean[domain], single.running_mean)
        torch.testing.assert_close(norm.running_var[domain], single.running_var)
        assert int(norm.num_batches_tracked[domain]) == int(single.num_batches_tracked)
    images, domains = rows(seed=9)
    evaluated = norm.eval()(OfDomains(images, domains, None))
    for domain, single in enumerate(torchs):
        with torch.no_grad():
            single.weight.copy_(norm.weight[domain])
            single.bias.copy_(norm.bias[domain])
        torch.testing.assert_close(evaluated[domains == domain], single.eval()(images[domains == domain]))


def test_a_single_value_of_a_domain_is_refused_as_by_pytorch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer().train()(OfDomains(torch.randn(3, 4, 1, 1), torch.tensor([0, 0, 1]), None))
    with pytest.raises(ValueError, match="the domain of each row"):
        layer()(torch.randn(3, 4, 1, 1))


def test_a_new_network_normalises_every_domain_as_the_one_before():
    backbone = build_backbone("small", 5).eval()
    images = torch.randn(6, 3, 16, 16)
    expected = backbone(images)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    network = NormalisedNetwork(backbone, 2, "features.block2", 16).eval()
    torch.testing.assert_close(network.domain_logits(images), expected.expand(2, -1, -1))
    state = network.network.state_dict()
    assert list(state) == list(before)
    assert state["features.block1.1.weight"].shape == (16,)
    assert state["features.block2.1.weight"].shape == (2, 32)
    assert network.sites == ()


def test_each_row_is_normalised_by_its_own_domain_and_learns_it_alone():
    method = built("dsbn", instance=True)
    assert method.network.boundary == "features.block3"
    learn(method, steps_of(method))
    method.eval()
    batch = toy_batch(12)
    with torch.no_grad():
        each = method.network.domain_logits(batch.images)
        own = method.network(batch.images, batch.domains)
    torch.testing.assert_close(own, each[batch.domains, torch.arange(12)])
    assert (each[0] - each[1]).abs().max() > 1e-3
    method.zero_grad()
    method.train()
    only = torch.nonzero(batch.domains == 1)[:, 0]
    method.network(batch.images[only], batch.domains[only]).sum().backward()
    gradient = method.network.network.get_submodule("features.block3.1").weight.grad
    assert gradient[1].any()
    assert not gradient[[0, 2]].any()
    assert method.network.mixing.grad[1] != 0
    assert not method.network.mixing.grad[[0, 2]].any()


@pytest.mark.parametrize("axis", [1, -1])
def test_an_adapter_adds_its_domains_map_to_the_channels(axis):
    torch.manual_seed(0)
    inputs, domains = torch.randn(5, 6, 2, 3), torch.tensor([0, 1, 1, 0, 2])
    down, up = torch.randn(3, 2, 6), torch.randn(3, 6, 2)
    expected = slow.adapted(inputs, domains, down, up, alpha=5.0)
    moved = inputs.movedim(1, axis)
    result = low_rank(moved, down[domains], 2.5 * up[domains], axis)
    torch.testing.assert_close(result, expected.movedim(1, axis), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        low_rank(inputs[:, :, 0, 0], down[domains], 2.5 * up[domains], 1), expected[:, :, 0, 0], atol=1e-5, rtol=1e-5
    )


def test_adapters_begin_as_none_and_are_then_a_change_of_low_rank_of_the_layers_weight():
    backbone = build_backbone("small", 5).eval()
    images = torch.randn(6, 3, 16, 16)
    expected = backbone(images)
    network = AdaptedNetwork(backbone, 2, ("classifier.head",), None, 16, rank=3, alpha=6.0).eval()
    torch.testing.assert_close(network.domain_logits(images), expected.expand(2, -1, -1))
    assert network.down["classifier/head"].abs().max() <= 128**-0.5
    with torch.no_grad():
        network.up["classifier/head"].normal_()
    changed = copy.deepcopy(backbone)
    down, up = network.down["classifier/head"][1], network.up["classifier/head"][1]
    change = 2.0 * changed.classifier.head.weight @ up @ down
    assert torch.linalg.matrix_rank(change.detach(), atol=1e-4) == 3
    with torch.no_grad():
        changed.classifier.head.weight += change
    torch.testing.assert_close(network.domain_logits(images)[1], changed(images), atol=1e-4, rtol=1e-4)


def test_an_adapter_learns_from_its_own_domain():
    method = still(built("lora"))
    with torch.no_grad():
        for up in method.network.up.values():
            up.normal_()
    batch = toy_batch(12)
    only = torch.nonzero(batch.domains == 2)[:, 0]
    method.network(batch.images[only], batch.domains[only]).sum().backward()
    for adapters in (method.network.down, method.network.up):
        for parameter in adapters.values():
            assert parameter.grad[2].any()
            assert not parameter.grad[:2].any()
    assert method.parameter_groups()["adapters"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"method": {"name": "lora", "rank": 129}},
            r"method.rank: expected 1 to 128, the number of channels at site 'classifier.head', got 129",
        ),
        (
            {"method": {"name": "dsbn"}, "boundary": "classifier.hidden"},
            "has no batch norm.*--boundary, such as 'features.block3'",
        ),
        ({"method": {"name": "dsbn"}, "sites": ("classifier.head",)}, "^sites: method 'dsbn' has no masks"),
        ({"method": {"name": "lora"}, "lr_masks": 0.1}, "^lr_masks: method 'lora' has no masks"),
    ],
)
def test_bad_settings_are_told_in_one_line(tmp_path, settings, said):
    with pytest.raises(InputError, match=said) as caught:
        run(generated.config(epochs=1, **settings), tmp_path / "run", dataset=generated.dataset(10), reporter=Silent())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{"rank": 0}, {"alpha": 0}, {"alpha": -1.0}])
def test_settings_out_of_range_are_refused(settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"method.{name}: "):
        method_settings("lora", settings)


def test_sites_are_those_of_adapters(tmp_path):
    config = generated.config(method="lora", epochs=1, sites=("classifier.head",))
    method = run(config, tmp_path / "run", dataset=generated.dataset(10), reporter=Silent())
    assert method.results.masks is None


def test_a_network_that_was_trained_without_begins_every_domains_batch_norm(tmp_path):
    data = generated.dataset(10)
    plain = run(generated.config(method="aggregate", epochs=1), tmp_path / "plain", dataset=data, reporter=Silent())
    settings = {"method": "dsbn", "init_from": str(plain.folder.path), "lr": 1e-12, "epochs": 1, "average": "none"}
    method = started(
        generated.config(**settings, weights=None, backbone=None, size=None, boundary="features.block3"), data
    )
    from safetensors.torch import load_file  # noqa: PLC0415

    saved = load_file(plain.folder.model)
    state = method.network.network.state_dict()
    for name, value in saved.items():
        if name.startswith("features.block3.1."):
            torch.testing.assert_close(state[name], value.expand_as(state[name]))
        elif name in state:
            torch.testing.assert_close(state[name], value)


def started(config, data):
    from domain_masks.training import Experiment  # noqa: PLC0415
    from domain_masks.training.defaults import resolve  # noqa: PLC0415
    from domain_masks.training.launching import launch  # noqa: PLC0415

    complete = resolve(config, data)
    return Experiment(complete, data, launch(complete), Silent()).method


def test_the_family_shares_its_ensembles():
    for name in ("dsbn", "lora", "multi_headed"):
        method = built(name).eval()
        with torch.no_grad():
            predicted = method.predict(toy_batch(8))
        mean = sum(predicted[f"known:{source}"] for source in SOURCES) / len(SOURCES)
        torch.testing.assert_close(predicted["predictions"], mean)
