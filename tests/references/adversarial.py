"""The terms of DANN, CrossGrad, DSN and Fusion, one number at a time."""

import math

import torch


def growing_strength(progress, sharpness=10.0):
    return 2.0 / (1.0 + math.exp(-sharpness * progress)) - 1.0


def cross_entropy(logits, targets):
    total = 0.0
    for scores, target in zip(logits, targets.tolist(), strict=True):
        total = total - scores[target] + scores.exp().sum().log()
    return total / len(targets)


def perturbed(loss_of, images, epsilon, clip, deviations):
    """Move images that are numbers from -1 to 1 along the clipped gradient of a loss of the normalised ones.

    ``deviations``: of the normalisation, of values in [0, 1]; the mean is 0 here.
    """
    factors = torch.tensor(deviations).view(1, 3, 1, 1)
    from_minus_1 = (2 * images * factors).detach().requires_grad_()
    loss_of(from_minus_1 / (2 * factors)).backward()
    moved = from_minus_1 + epsilon * from_minus_1.grad.clamp(-clip, clip)
    return (moved / (2 * factors)).detach()


def difference(shared, private):
    """Of one domain: the squares of the entries of H_cᵀ H_p, after centring the columns and scaling the rows."""

    def prepared(codes):
        rows, columns = len(codes), len(codes[0])
        means = [sum(codes[n][k] for n in range(rows)) / rows for k in range(columns)]
        centred = [[codes[n][k] - means[k] for k in range(columns)] for n in range(rows)]
        norms = [math.sqrt(sum(value**2 for value in row)) for row in centred]
        return [[value / norm if norm > 0 else 0.0 for value in row] for row, norm in zip(centred, norms, strict=True)]

    left, right = prepared(shared), prepared(private)
    return [
        sum(left[n][a] * right[n][b] for n in range(len(left))) ** 2
        for a in range(len(left[0]))
        for b in range(len(right[0]))
    ]


def scale_invariant_error(true, reconstructed):
    errors = [a - b for a, b in zip(true, reconstructed, strict=True)]
    return sum(error**2 for error in errors) / len(errors) - sum(errors) ** 2 / len(errors) ** 2


def fused(logits, weights, alpha):
    """(1 - α) Σ_j w_j f_j + α/D Σ_j f_j of every image; logits[j][n][c], weights[n][j]."""
    domains = len(logits)
    return [
        [
            (1 - alpha) * sum(weights[n][j] * logits[j][n][c] for j in range(domains))
            + alpha / domains * sum(logits[j][n][c] for j in range(domains))
            for c in range(len(logits[0][0]))
        ]
        for n in range(len(weights))
    ]
