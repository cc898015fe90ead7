"""A whole training step of DMG's presets against the step written out, with the same masks."""

import pytest
import torch

from domain_masks.batch import DomainBatch
from domain_masks.methods import Context
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from domain_masks.randomness import BatchRandomness
from references import training_step as plain

SOURCES, CLASSES, COUNT = ("first", "second", "third"), 4, 6
PRESETS = {
    "alexnet": ("alexnet", (), ("classifier.1", "classifier.4", "classifier.6"), 64),
    "resnet18": ("resnet18", (), ("layer4.1", "fc"), 40),
    "resnet18, last stage": ("resnet18", ("last-stage",), ("layer4", "fc"), 40),
    "resnet18, released code": ("resnet18", ("released-code",), ("layer3", "layer4", "fc"), 40),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_step_is_the_one_written_out(name):
    backbone, sites, masked, size = PRESETS[name]
    # AlexNet's 57 million weights take their time.
    dtype = torch.float32 if name == "alexnet" else torch.float64
    near = {"rtol": 1e-4, "atol": 1e-7} if name == "alexnet" else {"rtol": 1e-6, "atol": 1e-10}
    torch.manual_seed(0)
    context = Context(SOURCES, tuple("abcd"), sites, None, size)
    method = (
        build_method("dmg", build_backbone(backbone, CLASSES), context, method_settings("dmg", {}), 0).to(dtype).train()
    )
    random = BatchRandomness(seed=3, step=5, first=0, count=COUNT, total=COUNT)
    batch = DomainBatch(
        images=torch.randn(COUNT, 3, size, size, dtype=dtype),
        labels=torch.arange(COUNT) % CLASSES,
        domains=torch.arange(COUNT) % len(SOURCES),
        ids=torch.arange(COUNT),
        random=random,
    )
    network = method.network.network
    weights = {key: value.detach().clone() for key, value in network.state_dict().items()}
    for key, _ in network.named_parameters():
        weights[key].requires_grad_()
    logits = {site: value.detach().clone() for site, value in method.mask_logits().items()}
    assert tuple(logits) == masked
    noise = {site: random.uniform(f"masks/{site}", value.shape[1]) for site, value in logits.items()}

    terms, of_weights, of_masks = plain.step(
        getattr(plain, backbone), weights, logits, (batch.images, batch.labels, batch.domains), noise, 0.1
    )
    got = method.training_loss(batch)
    sum(got.values()).backward()

    assert {term: value.item() for term, value in got.items()} == pytest.approx(terms, rel=1e-6)
    for key, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, of_weights[key], **near, msg=key)
    for site, value in method.mask_logits().items():
        torch.testing.assert_close(value.grad, of_masks[site], **near, msg=site)
    for key, buffer in network.named_buffers():
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(buffer, weights[key], rtol=1e-9, atol=1e-12, msg=key)
