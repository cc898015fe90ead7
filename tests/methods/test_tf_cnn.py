from dataclasses import replace

import pytest
import torch
from torch import nn

from domain_masks.errors import InputError
from domain_masks.methods.algorithms.tf_cnn import TuckerLinear
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from methods.contract import SOURCES, built, built_backbone, context, still, toy_batch
from references import decomposition


def moved(layer):
    """A layer whose parts have all learned something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return layer


@pytest.mark.parametrize(("rank", "domain_rank"), [(4, 4), (2, 2), (3, 1), (6, 3)])
def test_weights_are_the_tucker_tensor_at_the_code(rank, domain_rank):
    torch.manual_seed(0)
    layer = moved(TuckerLinear(nn.Linear(6, 4), 3, rank, domain_rank))
    assert layer.core.shape == (rank, min(rank, 4), domain_rank)
    for code in ([0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]):
        layer.code = torch.tensor(code)
        parts = (layer.core, layer.inputs, layer.outputs, layer.domains)
        expected = decomposition.tucker_weight(*(part.tolist() for part in parts), code)
        torch.testing.assert_close(layer.weight, torch.tensor(expected), rtol=1e-4, atol=1e-5)
        inputs = torch.randn(5, 6)
        bias = layer.biases.t() @ layer.code
        rows = [decomposition.linear(expected, bias.tolist(), row) for row in inputs.tolist()]
        torch.testing.assert_close(layer(inputs), torch.tensor(rows), rtol=1e-4, atol=1e-5)


def test_weights_have_no_more_than_their_rank():
    torch.manual_seed(0)
    layer = moved(TuckerLinear(nn.Linear(9, 7), 3, 2, 4))
    stacked = []
    for domain in range(3):
        layer.code = torch.eye(4)[domain] + torch.eye(4)[3]
        stacked.append(layer.weight)
    assert int(torch.linalg.matrix_rank(torch.cat(stacked), tol=1e-4)) == 2
    assert int(torch.linalg.matrix_rank(torch.cat(stacked, 1), tol=1e-4)) == 2


def test_it_begins_as_the_layer_that_it_replaces():
    torch.manual_seed(0)
    bare = build_backbone("small", 4).eval()
    batch = toy_batch(6)
    with torch.no_grad():
        expected = bare(batch.images)
        method = build_method("tf_cnn", bare, context(), method_settings("tf_cnn", {"layers": 2})).eval()
        for name, logits in method.predict(batch).items():
            torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("layers", [1, 2])
def test_every_image_learns_under_the_weights_of_its_domain(layers):
    method = still(built("tf_cnn", layers=layers))
    names = [f"classifier.{name}" for name in ("hidden", "head")[-layers:]]
    assert method.layers == tuple(names)
    for name in names:
        moved(method.network.network.get_submodule(name))
    batch = toy_batch()
    with torch.no_grad():
        terms = method.training_loss(batch)
        total = 0.0
        for row, domain in enumerate(batch.domains.tolist()):
            for name in names:
                method.network.network.get_submodule(name).code[:] = torch.eye(4)[domain] + torch.eye(4)[3]
            logits = method.network.network(batch.images[row : row + 1])
            total += nn.functional.cross_entropy(logits, batch.labels[row : row + 1]).item()
    assert terms["classification"].item() == pytest.approx(total / len(batch), rel=1e-4)


def test_the_shared_part_alone_predicts_where_the_domain_is_unknown():
    method = still(built("tf_cnn"))
    layer = moved(method.network.network.get_submodule("classifier.head"))
    method.eval()
    batch = toy_batch(6)
    with torch.no_grad():
        before = method.predict(batch)
        layer.domains[0] += 5.0
        layer.biases[0] -= 1.0
        after = method.predict(batch)
    assert torch.equal(before["predictions"], after["predictions"])
    assert not torch.allclose(before[f"known:{SOURCES[0]}"], after[f"known:{SOURCES[0]}"])
    assert torch.equal(before[f"known:{SOURCES[1]}"], after[f"known:{SOURCES[1]}"])


def test_images_of_one_domain_reach_the_shared_part_and_their_own():
    method = still(built("tf_cnn"))
    layer = moved(method.network.network.get_submodule("classifier.head"))
    batch = replace(toy_batch(), domains=torch.ones(24, dtype=torch.int64))
    method.training_loss(batch)["classification"].backward()
    for part in (layer.domains, layer.biases):
        assert [bool(row.any()) for row in part.grad] == [False, True, False, True]
    assert all(parameter.grad.any() for parameter in method.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 129}, r"method\.rank: expected at most 128, the inputs of 'classifier\.head', got 129"),
        ({"domain_rank": 5}, r"method\.domain_rank: expected at most 4, the number of sources \+ 1, got 5"),
        (
            {"layers": 3},
            r"method\.layers: expected at most 2, the number of linear layers after the boundary 'classifier.*', got 3",
        ),
    ],
)
def test_ranks_above_what_there_is_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        build_method("tf_cnn", built_backbone(), context(), method_settings("tf_cnn", settings))
