"""TENT step by step on a network with batch norm: batch statistics, entropy row by row, Adam written out."""

import math

import torch
from torch import nn


def entropy_of(row):
    probabilities = row.softmax(0)
    return -sum(p * p.log() for p in probabilities)


def tent(network, batches, rate):
    """Return the logits of each batch; ``network`` is changed."""
    network.eval()
    layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for layer in layers:
        # Without running statistics PyTorch takes those of the batch, also in evaluation mode.
        layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    affine = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    first = [torch.zeros_like(parameter) for parameter in affine]
    second = [torch.zeros_like(parameter) for parameter in affine]
    outputs = []
    for step, images in enumerate(batches, 1):
        logits = network(images)
        outputs.append(logits.detach())
        loss = sum(entropy_of(row) for row in logits) / len(logits)
        gradients = torch.autograd.grad(loss, affine)
        with torch.no_grad():
            for place, (parameter, gradient) in enumerate(zip(affine, gradients, strict=True)):
                first[place] = 0.9 * first[place] + 0.1 * gradient
                second[place] = 0.999 * second[place] + 0.001 * gradient**2
                mean = first[place] / (1 - 0.9**step)
                spread = (second[place] / (1 - 0.999**step)).sqrt()
                parameter.sub_(rate * mean / (spread + 1e-8))
    return outputs


def probabilities_over_views(network, images, views):
    """Return the mean over views of the softmax of ``network``, image by image: (N, C)."""
    rows = []
    for image in images:
        shown = [network(view(image)[None])[0].softmax(0) for view in views]
        rows.append(sum(shown) / len(shown))
    assert all(math.isclose(float(row.sum()), 1, abs_tol=1e-5) for row in rows)
    return torch.stack(rows)
