import pytest
import torch
from torch.nn import functional

from domain_masks.errors import InputError
from domain_masks.methods.algorithms.miro import Variance, distance_to_oracle
from methods.contract import built, toy_batch
from references import augmentation


def still(method):
    """In training mode, but with batch norm and dropout as in evaluation."""
    method.train()
    method.network.network.eval()
    return method


def stages_of(network, images):
    found = []
    for name in ("block1", "block2", "block3"):
        images = getattr(network.features, name)(images)
        found.append(images)
    return found


def moved(method):
    """The method, with a network that has learned since, and variances that differ."""
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        for number, variance in enumerate(method.variances):
            variance.bias.add_(0.05 * number * torch.arange(variance.bias.numel()).view(variance.bias.shape) / 64)
    return method


def test_the_distance_is_the_obvious_formula():
    torch.manual_seed(0)
    features, oracle, variance = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2), torch.rand(1, 4, 1, 1) + 0.1
    expected = augmentation.distance_to_oracle(
        features.flatten(2).tolist(), oracle.flatten(2).tolist(), variance.flatten().tolist()
    )
    assert distance_to_oracle(features, oracle, variance).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 6, 5, 5), (1, 5, 5, 6), (1, 9, 6)])
def test_there_is_a_variance_per_channel_at_first_a_tenth(shape):
    variance = Variance(shape)()
    assert variance.numel() == 6
    assert (variance + torch.zeros(shape)).shape == shape
    torch.testing.assert_close(variance, torch.full_like(variance, 0.1))


def test_the_variances_learn_ten_times_as_fast_as_the_network():
    variance, plain = Variance((1, 3, 2, 2)), torch.full((3,), -2.2522, requires_grad=True)
    optimizers = [torch.optim.Adam([one], lr=1e-3) for one in (variance.bias, plain)]
    optimizers[1].param_groups[0]["lr"] = 1e-2
    for _ in range(5):
        for one in (variance().flatten(), functional.softplus(plain) + 1e-5):
            (one - torch.tensor([1.0, 0.01, 0.2])).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(variance().flatten(), functional.softplus(plain) + 1e-5, rtol=1e-3, atol=1e-5)


def test_the_loss_is_the_sum_over_stages_of_the_distances_to_the_network_as_it_was():
    method, batch = still(built("miro", weight=0.3)), toy_batch(12)
    oracle = stages_of(built("miro").network.network.eval(), batch.images)
    moved(method)
    terms, features = method.training_loss(batch), stages_of(method.network.network, batch.images)
    distances = [
        augmentation.distance_to_oracle(z.flatten(2).tolist(), z0.flatten(2).tolist(), variance().flatten().tolist())
        for z, z0, variance in zip(features, oracle, method.variances, strict=True)
    ]
    assert terms["oracle"].item() == pytest.approx(0.3 * sum(distances), rel=1e-4)
    plain = functional.cross_entropy(method.network(batch.images), batch.labels)
    torch.testing.assert_close(terms["classification"], plain)


def test_the_distance_reaches_the_stages_and_the_variances_alone():
    method = moved(built("miro")).train()
    method.training_loss(toy_batch())["oracle"].backward()
    reached = {name for name, parameter in method.named_parameters() if parameter.grad is not None}
    assert reached == {
        name for name, _ in method.named_parameters() if name.startswith(("network.network.features.", "variances."))
    }
    assert all(parameter.grad is None or parameter.grad.any() for parameter in method.parameters())


def test_the_oracle_is_the_network_as_training_finds_it_and_stays_so():
    method = built("miro", batch_norm="learned")
    moved(method).begin_phase("train")
    state = {name: value.clone() for name, value in method.oracle.state_dict().items()}
    assert all(torch.equal(value, state[name]) for name, value in method.network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in method.oracle.parameters())
    method.train()
    sum(method.training_loss(toy_batch()).values()).backward()
    assert not any(module.training for module in method.oracle.network.modules())
    assert all(torch.equal(value, state[name]) for name, value in method.oracle.state_dict().items())
    assert any(not torch.equal(value, state[name]) for name, value in method.network.state_dict().items())


@pytest.mark.parametrize("how", ["fixed", "learned"])
def test_with_fixed_statistics_the_distance_begins_with_that_of_equal_networks(how):
    method = built("miro", batch_norm=how, weight=1.0).train()
    distance = method.training_loss(toy_batch())["oracle"].item()
    equal = sum(variance().log().mean().item() / 2 for variance in method.variances)
    assert (distance == pytest.approx(equal, abs=1e-5)) is (how == "fixed")
    assert method.network.network.classifier.dropout.training


def test_the_model_is_without_the_oracle():
    method, batch = still(built("miro")), toy_batch(6)
    assert method.training_only() == ("oracle.", "variances.")
    method.oracle = method.variances = None
    with torch.no_grad():
        assert torch.equal(method.predict(batch)["predictions"], method.network.network(batch.images))


def test_without_weight_it_is_aggregate():
    method, batch = still(built("miro", weight=0)), toy_batch(6)
    assert set(method.training_loss(batch)) == {"classification"}


def test_a_module_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"unknown module 'features.block9'"):
        built("miro", modules="features.block1,features.block9")
    assert built("miro", modules="features.block2")._stages == ("features.block2",)
