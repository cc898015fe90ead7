import pytest
import torch

from domain_masks.errors import InputError
from domain_masks.methods.algorithms.csd import orthonormality
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from methods.contract import CLASSES, built, context, still, toy_batch
from references import penalties


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("form", ["paper", "released-code"])
def test_the_terms_are_those_of_a_last_layer_per_source(form, rank):
    weights = {"common_weight": 0.7, "orthonormality_weight": 0.3}
    method, batch = still(built("csd", form=form, rank=rank, **weights)), toy_batch()
    with torch.no_grad():
        method.specific.factors.normal_(generator=torch.Generator().manual_seed(0))
    terms = method.training_loss(batch)
    head, specific = method.network.network.classifier.head, method.specific
    expected = penalties.csd(
        method.network.represent(method.network.features(batch.images)),
        batch.labels,
        batch.domains,
        (head.weight, head.bias, specific.common_factor),
        (specific.weight, specific.bias, specific.factors),
        form == "released-code",
    )
    factors = {"specific": 1.0, "common": 0.7, "orthonormality": 0.3}
    assert terms.keys() == expected.keys()
    parameters = list(method.parameters())
    for name, term in terms.items():
        torch.testing.assert_close(term, factors[name] * expected[name], rtol=1e-4, atol=1e-6)
        got, wanted = (
            torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            for value in (term, factors[name] * expected[name])
        )
        for own, other in zip(got, wanted, strict=True):
            assert (own is None) == (other is None)
            if own is not None:
                torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5)


def test_orthonormal_weights_are_not_penalised():
    rows = torch.eye(6)[:3]
    common, specific = rows[:1].repeat(4, 1), torch.stack([rows[1:2].repeat(4, 1), rows[2:].repeat(4, 1)])
    assert not orthonormality(common, specific).any()
    assert orthonormality(common, common[None]).sum() == 4 * 2


def test_the_common_part_alone_predicts():
    method, batch = built("csd").eval(), toy_batch()
    with torch.no_grad():
        before = method.predict(batch)["predictions"]
        method.specific.weight.add_(1.0)
        method.specific.factors.add_(1.0)
        assert torch.equal(method.predict(batch)["predictions"], before)


def test_a_rank_beyond_the_features_is_refused():
    width = built("csd").network.width
    built("csd", rank=width - 1)
    with pytest.raises(InputError, match=rf"method\.rank: expected less than .* {width} input features, got {width}"):
        built("csd", rank=width)


@pytest.mark.parametrize("name", ["csd", "fishr"])
def test_looking_at_the_last_layer_leaves_batch_norm_as_it_was(name):
    torch.manual_seed(0)
    backbone = build_backbone("small", len(CLASSES)).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    method = build_method(name, backbone, context(boundary="features.block2"), method_settings(name, {}))
    assert method.network.network.training
    assert any("running" in key for key in before)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
