"""What a domain's own batch norm and adapter do, row by row and domain by domain."""

import torch


def batch_norm(images, domains, weight, bias, eps, share=None):
    """Normalise (N, C, H, W) in training; ``share`` (D,) mixes the statistics of each image in."""
    result = torch.empty_like(images)
    for domain in sorted(set(domains.tolist())):
        rows = [row for row in range(len(images)) if domains[row] == domain]
        for channel in range(images.shape[1]):
            own = images[rows, channel]
            for row in rows:
                mean, variance = own.mean(), ((own - own.mean()) ** 2).mean()
                if share is not None:
                    image = images[row, channel]
                    mean = share[domain] * mean + (1 - share[domain]) * image.mean()
                    variance = share[domain] * variance + (1 - share[domain]) * ((image - image.mean()) ** 2).mean()
                normal = (images[row, channel] - mean) / torch.sqrt(variance + eps)
                result[row, channel] = weight[domain, channel] * normal + bias[domain, channel]
    return result


def adapted(inputs, domains, down, up, alpha):
    """Return x + (alpha / r) B A x of every row and place of (N, K, H, W)."""
    result = inputs.clone()
    rank = down.shape[1]
    for row, domain in enumerate(domains.tolist()):
        for y in range(inputs.shape[2]):
            for x in range(inputs.shape[3]):
                vector = inputs[row, :, y, x]
                result[row, :, y, x] = vector + alpha / rank * (up[domain] @ (down[domain] @ vector))
    return result
