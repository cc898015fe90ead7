from dataclasses import replace

import pytest
import torch

from domain_masks.errors import InputError
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from methods.contract import SIZE, as_features, built, context, learn, steps_of, toy_batch
from references import decomposition

PHASES = {"reconstruction": 0, "classes": 1}


def parts_of(linear):
    return linear.weight.tolist(), linear.bias.tolist()


def batch_of(count=20, seed=0):
    """Rows in no order, one class of one domain missing."""
    batch = toy_batch(48, seed=seed)
    kept = torch.randperm(48, generator=torch.Generator().manual_seed(seed))
    kept = kept[~((batch.labels == 1) & (batch.domains == 2))[kept]][:count]
    random = replace(batch.random, count=count, total=count)
    return replace(
        batch,
        images=batch.images[kept],
        labels=batch.labels[kept],
        domains=batch.domains[kept],
        ids=kept,
        random=random,
    )


@pytest.mark.parametrize("corruption", [0.0, 0.3])
def test_every_source_is_reconstructed_from_every_image_of_a_class(corruption):
    method = built("d_mtae", hidden=7, corruption=corruption).train()
    batch = batch_of()
    inputs = method.inputs(batch)
    kept = batch.random.uniform("d_mtae/corruption", inputs.shape[1]) >= corruption
    assert bool(kept.all()) == (corruption == 0.0)
    assert abs(float(kept.float().mean()) - (1 - corruption)) < 0.03
    expected = decomposition.reconstruction(
        inputs.tolist(),
        (inputs * kept).tolist(),
        batch.labels.tolist(),
        batch.domains.tolist(),
        parts_of(method.encoder),
        [parts_of(decoder) for decoder in method.decoders],
    )
    assert method.reconstruction(batch).item() == pytest.approx(expected, rel=1e-4)


def test_a_class_that_a_batch_lacks_in_a_domain_is_taken_from_earlier_batches():
    method = built("d_mtae", hidden=7, corruption=0.0).train()
    whole, lacking = toy_batch(48), batch_of(seed=1)
    method.reconstruction(whole)
    inputs = method.inputs(whole)
    last = [n for n in range(48) if whole.labels[n] == 1 and whole.domains[n] == 2][-1]
    assert torch.equal(method.seen[2, 1], inputs[last])
    method.reconstruction(lacking)
    assert torch.equal(method.seen[2, 1], inputs[last])
    assert method.are_seen.all()


def test_what_is_encoded_is_what_the_last_layer_was_given():
    torch.manual_seed(0)
    bare = build_backbone("small", 4).eval()
    given = []
    bare.classifier.head.register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0]))
    images = toy_batch(6).images
    with torch.no_grad():
        bare(images)
    torch.manual_seed(0)
    method = build_method("d_mtae", build_backbone("small", 4), context(), method_settings("d_mtae", {})).train()
    assert torch.equal(method.inputs(replace(toy_batch(), images=images)), given[0])
    assert torch.equal(method.inputs(as_features(method, replace(toy_batch(), images=images))), given[0])
    assert method.training
    assert method.network.network.training
    with torch.no_grad():
        codes = method.encoder(given[0]).sigmoid()
        classified = method.network.network.classifier.head.classifier(codes)
        assert torch.equal(method.eval().predict(replace(toy_batch(), images=images))["predictions"], classified)


def changed(phase, **settings):
    method = built("d_mtae", **settings)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    learn(method, steps_of(method), only=PHASES[phase])
    names = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    groups = {
        "encoder": ".encoder.",
        "classifier": ".classifier.head.classifier.",
        "body": ".features.",
        "decoders": "decoders.",
    }
    return {group for group, part in groups.items() if any(part in name for name in names)}


@pytest.mark.parametrize(
    ("phase", "settings", "expected"),
    [
        ("reconstruction", {}, {"encoder", "decoders"}),
        ("classes", {}, {"encoder", "classifier", "body"}),
        ("classes", {"learned": "encoder"}, {"encoder", "classifier"}),
        ("classes", {"learned": "classifier"}, {"classifier"}),
    ],
)
def test_each_phase_changes_what_it_is_meant_for(phase, settings, expected):
    assert changed(phase, **settings) == expected


def test_every_decoder_and_the_encoder_get_a_gradient():
    method = built("d_mtae").train()
    method.reconstruction(toy_batch()).backward()
    learned = [*method.encoder.parameters(), *method.decoders.parameters()]
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in learned)
    assert [name for name, parameter in method.named_parameters() if parameter.grad is not None] == [
        name for name, _ in method.named_parameters() if ".encoder." in name or name.startswith("decoders.")
    ]


def test_a_network_that_ends_in_a_convolution_is_refused():
    with pytest.raises(InputError, match=r"expected a network that ends in a linear layer, got Conv2d 'classifier\.1'"):
        build_method(
            "d_mtae",
            build_backbone("squeezenet1_1", 4),
            replace(context(), image_size=4 * SIZE),
            method_settings("d_mtae", {}),
        )
