"""The one call that puts masks around a network."""

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
    """Put domain-specific masks around a classifier.

    - ``network``: a name of torchvision or timm (``timm:NAME``), or any module images (N, 3, H, W) -> logits (N, C)
      (of other inputs with ``example_input``)
    - ``domains``: D, the number of source domains
    - ``classes``: C; needed with a name, not used with a module
    - ``sites``: a preset (``paper``, ``last-stage``, ``released-code``, ``last-block``), or names of modules whose
      inputs are masked; none for the network's default
    - ``boundary``: the module where T begins; None means the first site
    - ``dropout_in_task``: False keeps T's dropout off while masks are learned, see :class:`Network`
    - ``example_input``: a tensor (N, ...) that the network can be called with, or a tuple where it takes several: for
      sound, text, tables, images of other than 3 channels. The masked network is then called with such a tensor or tuple.
      Sites given by hand, as :class:`Site`, need none
    - ``weights``, ``image_size``: see :func:`build_backbone` and :class:`Network`

    Raises InputError for unknown names (listing the candidates), for networks that cannot be divided there, and unless
    ``domains`` is a whole number from 1.
    """
    _check_count(domains)
    module = network if isinstance(network, nn.Module) else build_backbone(network, _required(classes), weights)
    chosen = layout(module, (sites,) if isinstance(sites, str) else tuple(sites), boundary)
    return MaskedNetwork(
        module, domains, chosen.sites, chosen.boundary, image_size, initialisation, dropout_in_task, example_input
    )


def _check_count(domains: object) -> None:
    if isinstance(domains, bool) or not isinstance(domains, Integral) or int(domains) < 1:
        raise InputError(f"expected the number of source domains as domains, a whole number from 1, got {domains!r}")


def _required(classes: int | None) -> int:
    if classes is None:
        raise ValueError("expected the number of classes together with the name of a network")
    return classes
