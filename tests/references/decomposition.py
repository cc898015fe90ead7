"""The terms of TF-CNN and D-MTAE, one number at a time."""

import math


def tucker_weight(core, inputs, outputs, domains, code):
    """W[c][k] = Σ_rqs core[r][q][s] inputs[k][r] outputs[c][q] Σ_d code[d] domains[d][s]."""
    return [
        [
            sum(
                core[r][q][s] * inputs[k][r] * outputs[c][q] * sum(code[d] * domains[d][s] for d in range(len(code)))
                for r in range(len(core))
                for q in range(len(core[0]))
                for s in range(len(core[0][0]))
            )
            for k in range(len(inputs))
        ]
        for c in range(len(outputs))
    ]


def linear(weight, bias, inputs):
    return [sum(w * x for w, x in zip(row, inputs, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def sigmoid(value):
    return 1.0 / (1.0 + math.exp(-value))


def reconstruction(inputs, corrupted, labels, domains, encoder, decoders):
    """Mean over domains, images and entries of the squared error; an image's partner is the last of its class in the domain.

    ``encoder`` and ``decoders`` are (weight, bias) each. An image without a partner in a domain costs nothing there.
    """
    total, width = 0.0, len(inputs[0])
    for domain, decoder in enumerate(decoders):
        for row, spoilt in enumerate(corrupted):
            partners = [n for n in range(len(inputs)) if domains[n] == domain and labels[n] == labels[row]]
            if domains[row] == domain:
                partners = [row]
            if partners:
                code = [sigmoid(value) for value in linear(*encoder, spoilt)]
                rebuilt = linear(*decoder, code)
                target = inputs[partners[-1]]
                total += sum((a - b) ** 2 for a, b in zip(rebuilt, target, strict=True)) / width
    return total / (len(decoders) * len(inputs))
