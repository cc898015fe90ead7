"""DICA as the paper writes it, with matrices of n by n."""

import numpy as np


def gaussian(left, right, sharpness):
    return np.array([[np.exp(-sharpness * ((a - b) ** 2).sum()) for b in right] for a in left])


def distributional_variance(domains):
    count, sizes = len(set(domains)), {domain: list(domains).count(domain) for domain in domains}
    matrix = np.empty((len(domains), len(domains)))
    for i, one in enumerate(domains):
        for j, other in enumerate(domains):
            if one == other:
                matrix[i, j] = (count - 1) / (count**2 * sizes[one] ** 2)
            else:
                matrix[i, j] = -1 / (count**2 * sizes[one] * sizes[other])
    return matrix


def dica(kernel, labels, domains, regulariser, output_regulariser, components):
    """Return the projection of the training images, (n, P), and the eigenvalues; kernel is not centred."""
    count = len(kernel)
    centring = np.eye(count) - 1 / count
    kernel = centring @ kernel @ centring
    outputs = centring @ np.equal.outer(labels, labels).astype(float) @ centring
    smooth = outputs @ np.linalg.inv(outputs + count * output_regulariser * np.eye(count))
    right = kernel @ distributional_variance(domains) @ kernel + kernel + regulariser * np.eye(count)
    values, vectors = np.linalg.eig(np.linalg.inv(right) @ smooth @ kernel @ kernel)
    order = np.argsort(-values.real)[:components]
    return kernel @ vectors[:, order].real, values[order].real
