"""Wrap a network with domain-specific masks."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from torch import nn

from domain_masks.errors import InputError
from domain_masks.keywords import named_keywords
from domain_masks.masks.module import Initialisation
from domain_masks.networks.backbones import build_backbone
from domain_masks.networks.inputs import Inputs
from domain_masks.networks.masked import MaskedNetwork
from domain_masks.networks.presets import layout
from domain_masks.networks.site import Site


@named_keywords
def masked(  # noqa: PLR0913
    network: str | nn.Module,
    domains: int,
    classes: int | None = None,
    sites: str | Sequence[str | Site] = (),
    boundary: str | None = None,
    *,
    weights: str = "none",
    image_size: int = 224,
    initialisation: Initialisation = "uniform",
    dropout_in_task: bool = False,
    example_input: Inputs | None = None,
) -> MaskedNetwork:
    """Wrap a classifier with domain-specific masks.

    - ``network``: a name of torchvision or timm (``timm:NAME``), or any module images (N, 3, H, W) -> logits (N, C);
      with ``example_input`` also a module with other inputs
    - ``domains``: D, the number of source domains
    - ``classes``: C; required with a name, ignored with a module
    - ``sites``: a preset (``paper``, ``last-stage``, ``released-code``, ``last-block``), or names of modules whose
      inputs are masked; empty for the network's default
    - ``boundary``: the module where T begins; None: the first site
    - ``dropout_in_task``: False disables T's dropout while masks are trained, see :class:`Network`
    - ``example_input``: a tensor (N, ...) with which the network can be called, or a tuple for several inputs: for
      audio, text, tables, or images with other than 3 channels. The masked network is then called with such a tensor or
      tuple. It is not needed if all sites are given as :class:`Site`
    - ``weights``, ``image_size``: see :func:`build_backbone` and :class:`Network`

    Raises InputError for unknown names (with the candidates), for networks that cannot be split at the boundary, and unless
    ``domains`` is an integer of 1 or more.
    """
    _check_count(domains)
    module = network if isinstance(network, nn.Module) else build_backbone(network, _required(classes), weights)
    chosen = layout(module, (sites,) if isinstance(sites, str) else tuple(sites), boundary)
    return MaskedNetwork(
        module, domains, chosen.sites, chosen.boundary, image_size, initialisation, dropout_in_task, example_input
    )


def _check_count(domains: object) -> None:
    if isinstance(domains, bool) or not isinstance(domains, Integral) or int(domains) < 1:
        raise InputError(f"expected domains as the number of source domains, an integer of 1 or more, got {domains!r}")


def _required(classes: int | None) -> int:
    if classes is None:
        raise ValueError("expected the number of classes together with the name of a network")
    return classes
