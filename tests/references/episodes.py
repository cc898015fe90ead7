"""The loss of Epi-FCR, an image at a time."""

import torch


def epi_fcr(method, batch, partners, share, weights):
    """Return the mean of each term; features and classifiers are those of the bare networks."""
    head = method.network.head

    def features(network, image):
        given = []
        hook = network.get_submodule(head).register_forward_pre_hook(lambda _module, inputs: given.append(inputs[0]))
        network(image)
        hook.remove()
        return given[0]

    def cost(layer, representation, label):
        scores = representation[0] @ layer.weight.t() + layer.bias
        return float(scores.exp().sum().log() - scores[label])

    totals = [0.0, 0.0, 0.0, 0.0]
    main = method.network.network
    for row, label in enumerate(batch.labels.tolist()):
        image, partner = batch.images[row : row + 1], method.specific[int(partners[row])].network
        with torch.no_grad():
            own = features(main, image)
            totals[0] += cost(main.get_submodule(head), own, label)
            totals[1] += weights[0] * float(share[row]) * cost(partner.get_submodule(head), own, label)
            totals[2] += (
                weights[1] * float(share[row]) * cost(main.get_submodule(head), features(partner, image), label)
            )
            totals[3] += weights[2] * cost(method.random_head, own, label)
    return [total / len(batch) for total in totals]
