"""The task of a method, and settings of the run that trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from torch import nn

from domain_masks.errors import InputError
from domain_masks.networks import HeadInitialisation, Site, find_head, layout


class PixelScale(Protocol):
    """The normalisation of images with pixels in [0, 1]: (pixel - mean) / std, per channel."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of each channel."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of each channel, above 0."""


@dataclass(frozen=True)
class Context:
    """The task of a method, without its backbone.

    - ``sources``: names of the source domains, in the order of masks and heads
    - ``classes``: names of the C classes
    - ``sites``: a preset or names of modules; empty for the backbone's default
    - ``boundary``: name of the module where T begins, or None for the first site
    - ``image_size``: H = W in pixels
    - ``head_initialisation``: for heads that a method creates itself; see :func:`build_backbone`
    - ``class_weights``: C factors of the classes in the loss, with mean 1 over the training images; None: all 1
    - ``label_smoothing``: share of the labels that the loss spreads over all classes, in [0, 1)
    - ``preprocessing``: the normalisation of the images, for methods that change pixels; None in a loaded model
    - ``further_backbone``: the function that :meth:`build_backbone` calls
    """

    sources: tuple[str, ...]
    classes: tuple[str, ...]
    sites: tuple[str | Site, ...] = ()
    boundary: str | None = None
    image_size: int = 224
    head_initialisation: HeadInitialisation = "default"
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    # These belong to the run, not to the task, and are not compared.
    preprocessing: PixelScale | None = field(default=None, compare=False, repr=False)
    further_backbone: Callable[[], nn.Module] | None = field(default=None, compare=False, repr=False)

    def build_backbone(self) -> nn.Module:
        """Build another backbone with a head for the classes, like the method's own and with the same initial weights.

        Random weights, such as a new head's, come from torch's generator, which the loop seeds for a method's constructor and
        its hooks. In a loaded model the weights are arbitrary, so name the backbone in ``training_only``.

        Raises ValueError if the context has no ``further_backbone``.
        """
        if self.further_backbone is None:
            raise ValueError("expected a context with a function that builds backbones (further_backbone), got none")
        return self.further_backbone()

    def boundary_of(self, backbone: nn.Module) -> str:
        """Return the boundary in ``backbone`` for a method without masks: that of a method with masks, or else the head."""
        if self.boundary and not self.sites:
            return self.boundary
        try:
            return layout(backbone, self.sites, self.boundary).boundary
        except InputError:
            if self.sites:
                raise
            return find_head(backbone)
