"""One last layer per source domain on a shared network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError, unknown
from domain_masks.networks.backbones import HeadInitialisation, initialise_normal
from domain_masks.networks.inputs import Inputs, check_domains, example_of
from domain_masks.networks.network import Network
from domain_masks.networks.tracing import known_modules, training_mode


class StackedLinear(nn.Module):
    """D linear layers on the same input, as one tensor.

    - ``weight``: (D, C, K); ``bias``: (D, C)
    """

    def __init__(self, domains: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(domains, out_features, in_features))
        self.bias = nn.Parameter(torch.empty(domains, out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise weights and biases as ``nn.Linear`` does, independently for each domain."""
        bound = 1 / math.sqrt(self.weight.shape[-1])
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs of all layers: (N, K) -> (N, D, C)."""
        domains, classes, _ = self.weight.shape
        outputs: Tensor = nn.functional.linear(inputs, self.weight.flatten(0, 1), self.bias.flatten())
        return outputs.reshape(*outputs.shape[:-1], domains, classes)


class MultiHeadNetwork(Network):
    """A classifier with one last layer per source domain (the paper's baseline Multi-Headed, Section 4.1).

    The linear layer ``head`` of the user's network is replaced by a :class:`StackedLinear` of the same name; it must be
    the last step of the network.

    - ``domains``: D
    - ``head``: qualified name of the last linear layer
    - ``image_size``, ``example_input``: see :class:`Network`
    - ``head_initialisation``: of the new heads: ``default`` is PyTorch's, ``normal`` is N(0, 0.001) with bias 0

    Raises InputError if ``head`` is not a linear layer, or not the last step.
    """

    def __init__(
        self,
        network: nn.Module,
        domains: int,
        head: str,
        boundary: str | None = None,
        image_size: int = 224,
        head_initialisation: HeadInitialisation = "default",
        example_input: Inputs | None = None,
    ) -> None:
        super().__init__(network, boundary or head, (), image_size, example_input=example_input)
        layer = self._last_layer(head, example_of(network, example_input, image_size)[0])
        self.domains = domains
        self.head = head
        stacked = StackedLinear(domains, layer.in_features, layer.out_features).to(layer.weight)
        if head_initialisation == "normal":
            initialise_normal(stacked)
        parent, _, name = head.rpartition(".")
        setattr(network.get_submodule(parent), name, stacked)
        # Trace again, because the head's class has changed.
        self._segments = self._split()

    def _last_layer(self, head: str, example: tuple[Tensor, ...]) -> nn.Linear:
        """Return the layer ``head``; raises InputError unless it is linear and its output is that of the network."""
        layer = dict(self.network.named_modules()).get(head)
        if layer is None:
            raise unknown("head", head, known_modules(self.network))
        if not isinstance(layer, nn.Linear):
            raise InputError(
                f"head {head!r} is a {type(layer).__name__}: expected the last linear layer of the network"
            )
        outputs: list[Tensor] = []
        hook = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        try:
            with torch.no_grad(), training_mode(self.network, False):
                logits = self.network(*example)
        finally:
            hook.remove()
        if len(outputs) != 1 or outputs[0] is not logits:
            raise InputError(
                f"head {head!r} is not the last step of the network: expected the layer whose output is returned, as "
                "several heads take its place"
            )
        return layer

    def heads(self, features: Tensor) -> Tensor:
        """Return the logits of all heads from features (N, ...): (N, D, C)."""
        return super().task(features)

    def task(self, features: Tensor, domains: Tensor | None = None) -> Tensor:
        """Run T with each instance's own head, or the mean of all heads where ``domains`` is None; (N, C)."""
        outputs = self.heads(features)
        if domains is None:
            return outputs.mean(1)
        domains = check_domains(domains, outputs, self.domains)
        # Unlike an index, gather takes no negative numbers: -1 must not become the last head.
        rows = domains[:, None, None].expand(-1, 1, outputs.shape[-1])
        return outputs.gather(1, rows).squeeze(1)

    def task_domain_logits(self, features: Tensor) -> Tensor:
        """Return the logits of every head, (D, N, C)."""
        return self.heads(features).transpose(0, 1)

    def domain_logits(self, images: Inputs) -> Tensor:
        """Return the logits of every head, (D, N, C); the network runs once."""
        return self.task_domain_logits(self.features(images))
