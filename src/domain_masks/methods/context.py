"""The task of a method, and settings of the run that trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from torch import nn

from domain_masks.errors import InputError
from domain_masks.networks import HeadInitialisation, Site, find_head, layout


class PixelScale(Protocol):
    """How pixels with values in [0, 1] became the numbers of an image: (pixel - mean) / std, per channel."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of each channel."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Deviation of each channel, above 0."""


@dataclass(frozen=True)
class Context:
    """The task of a method, except its backbone.

    - ``sources``: names of the source domains; their order is that of masks and heads
    - ``classes``: names of the C classes
    - ``sites``: a preset or names of modules; none for the backbone's default
    - ``boundary``: name of the module where T begins, or None for the first site
    - ``image_size``: H = W in pixels
    - ``head_initialisation``: of the heads that a method makes itself; see :func:`build_backbone`
    - ``class_weights``: C factors of the classes in the loss, whose mean over the training images is 1; None: all 1
    - ``preprocessing``: how pixels became the numbers in a batch's images, for methods that change them as pixels; None in a
      loaded model
    - ``further_backbone``: what :meth:`build_backbone` calls
    """

    sources: tuple[str, ...]
    classes: tuple[str, ...]
    sites: tuple[str | Site, ...] = ()
    boundary: str | None = None
    image_size: int = 224
    head_initialisation: HeadInitialisation = "default"
    class_weights: tuple[float, ...] | None = None
    # Of the run, not of the task: contexts that differ in these alone are equal.
    preprocessing: PixelScale | None = field(default=None, compare=False, repr=False)
    further_backbone: Callable[[], nn.Module] | None = field(default=None, compare=False, repr=False)

    def build_backbone(self) -> nn.Module:
        """Build another backbone with a head for the classes, made as the method's own was, from the same weights.

        What is drawn for it, such as a fresh head, comes from torch's generator, which the loop has seeded for the constructor
        of a method and for its hooks. In a model that is loaded its weights mean nothing: let ``training_only`` name it.

        Raises ValueError where nobody has said how.
        """
        if self.further_backbone is None:
            raise ValueError("expected a context that says how backbones are built (further_backbone), got none")
        return self.further_backbone()

    def boundary_of(self, backbone: nn.Module) -> str:
        """Return where T begins in ``backbone`` for a method without masks: as with masks, else at the head."""
        if self.boundary and not self.sites:
            return self.boundary
        try:
            return layout(backbone, self.sites, self.boundary).boundary
        except InputError:
            if self.sites:
                raise
            return find_head(backbone)
