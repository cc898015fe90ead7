"""What every method has from its base."""

import math

import pytest
import torch
from torch.nn import functional

from methods.contract import CLASSES, built, toy_batch


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0, 4.0)])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_every_image_is_weighted_by_its_class_and_the_mean_divides_by_their_number(weights, reduction):
    method = built("aggregate")
    if weights is not None:
        method.weight_classes(weights)
    logits = torch.randn(6, len(CLASSES), generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = [0, 1, 1, 2, 3, 3]
    each = [
        (1.0 if weights is None else weights[label]) * (math.log(sum(map(math.exp, row))) - row[label])
        for row, label in zip(logits.tolist(), labels, strict=True)
    ]
    expected = {"none": each, "mean": sum(each) / len(each)}[reduction]
    loss = method.classification_loss(logits, torch.tensor(labels), reduction)
    assert loss.tolist() == pytest.approx(expected, rel=1e-5)
    assert method.class_weights_used is (weights is not None)


@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0, 4.0)])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_smoothed_labels_are_pytorchs(weights, reduction):
    method = built("aggregate")
    method.smooth_labels(0.2)
    if weights is not None:
        method.weight_classes(weights)
    logits = torch.randn(6, len(CLASSES), generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, 1, 1, 2, 3, 3])
    weight = None if weights is None else torch.tensor(weights)
    expected = functional.cross_entropy(logits, labels, weight, reduction="none", label_smoothing=0.2)
    found = method.classification_loss(logits, labels, reduction)
    torch.testing.assert_close(found, {"none": expected, "mean": expected.mean()}[reduction])
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    (wanted,) = torch.autograd.grad((expected.mean() if reduction == "mean" else expected.sum()), logits)
    torch.testing.assert_close(gradient, wanted)


def test_a_sum_over_images_is_refused_as_the_loop_averages():
    batch = toy_batch(6)
    method = built("aggregate")
    logits = method.network.task(method.boundary_features(batch))
    with pytest.raises(ValueError, match=r"expected 'mean' or 'none', got 'sum'; .* mean times batch\.random\.total"):
        method.classification_loss(logits, batch.labels, reduction="sum")
