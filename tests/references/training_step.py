"""One training step of DMG on AlexNet and ResNet-18 written out: no module, no hook, no graph, only tensors by name.

Dropout is nowhere: the paper turns it off while masks are learned. Batch norm uses the batch's statistics.
"""

from itertools import combinations

import torch
from torch.nn import functional


def alexnet(weights, images, masks):
    """Masks on the inputs of fc6, fc7 and fc8; returns logits."""
    hidden = images
    for index, (stride, padding, pool) in {
        0: (4, 2, 1),
        3: (1, 2, 1),
        6: (1, 1, 0),
        8: (1, 1, 0),
        10: (1, 1, 1),
    }.items():
        name = f"features.{index}"
        hidden = functional.conv2d(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding).relu()
        if pool:
            hidden = functional.max_pool2d(hidden, 3, 2)
    hidden = functional.adaptive_avg_pool2d(hidden, 6).flatten(1)
    for name in ("classifier.1", "classifier.4", "classifier.6"):
        hidden = (hidden * masks[name]) @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        if name != "classifier.6":
            hidden = hidden.relu()
    return hidden


def resnet18(weights, images, masks):
    """Masks on the inputs of whatever modules they name, one value per channel; returns logits."""

    def masked(name, hidden):
        return hidden * masks[name].reshape(*masks[name].shape, *[1] * (hidden.dim() - 2)) if name in masks else hidden

    def block(name, inputs, stride):
        inputs = masked(name, inputs)
        hidden = functional.conv2d(inputs, weights[f"{name}.conv1.weight"], None, stride, 1)
        hidden = batch_norm(weights, f"{name}.bn1", hidden).relu()
        hidden = batch_norm(
            weights, f"{name}.bn2", functional.conv2d(hidden, weights[f"{name}.conv2.weight"], None, 1, 1)
        )
        if f"{name}.downsample.0.weight" in weights:
            inputs = functional.conv2d(inputs, weights[f"{name}.downsample.0.weight"], None, stride)
            inputs = batch_norm(weights, f"{name}.downsample.1", inputs)
        return (hidden + inputs).relu()

    hidden = batch_norm(weights, "bn1", functional.conv2d(images, weights["conv1.weight"], None, 2, 3)).relu()
    hidden = functional.max_pool2d(hidden, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        hidden = masked(f"layer{stage}", hidden)
        for index in (0, 1):
            hidden = block(f"layer{stage}.{index}", hidden, 2 if stage > 1 and index == 0 else 1)
    return masked("fc", hidden.mean((2, 3))) @ weights["fc.weight"].T + weights["fc.bias"]


def batch_norm(weights, name, inputs):
    """Normalise by the batch's statistics, and move the running ones by a tenth."""
    mean = inputs.mean((0, 2, 3))
    centred = inputs - mean[:, None, None]
    variance = centred.square().mean((0, 2, 3))
    count = inputs.numel() / inputs.shape[1]
    with torch.no_grad():
        weights[f"{name}.running_mean"].mul_(0.9).add_(0.1 * mean)
        weights[f"{name}.running_var"].mul_(0.9).add_(0.1 * variance * count / (count - 1))
    scaled = centred / (variance + 1e-5).sqrt()[:, None, None]
    return scaled * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]


def step(forward, weights, mask_logits, batch, noise, overlap_weight):
    """Return loss terms, gradients of the weights and of the mask logits, for given uniform numbers.

    Straight through: the gradient of a hard mask is that of its probability.
    """
    images, labels, domains = batch
    probabilities = {site: torch.sigmoid(logits) for site, logits in mask_logits.items()}
    hard = {
        site: (noise[site] < rows[domains]).to(images.dtype).requires_grad_() for site, rows in probabilities.items()
    }
    logits = forward(weights, images, hard)
    classification = -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()
    learned = {name: value for name, value in weights.items() if value.requires_grad}
    gradients = torch.autograd.grad(classification, [*learned.values(), *hard.values()])
    of_weights = dict(zip(learned, gradients[: len(learned)], strict=True))
    overlap, of_masks = 0.0, {}
    for site, of_hard in zip(hard, gradients[len(learned) :], strict=True):
        logits = mask_logits[site].detach().requires_grad_()
        rows = torch.sigmoid(logits)
        shared = sum(
            (rows[i] * rows[j]).sum() / (rows[i] + rows[j] - rows[i] * rows[j]).sum()
            for i, j in combinations(range(len(rows)), 2)
        )
        overlap = overlap + overlap_weight * float(shared.detach())
        (of_overlap,) = torch.autograd.grad(overlap_weight * shared, logits)
        straight_through = torch.stack([of_hard[domains == domain].sum(0) for domain in range(len(rows))])
        of_masks[site] = straight_through * (rows * (1 - rows)).detach() + of_overlap
    return {"classification": float(classification.detach()), "overlap": overlap}, of_weights, of_masks
