"""The algorithms of this package as they are known without torch: where they come from, and their settings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings

_DMG = "Learning to Balance Specificity and Invariance for In and Out of Domain Generalization"
_AUTHORS, _VENUE = "Chattopadhyay, Balaji, Hoffman", "ECCV 2020"

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class DMGSettings(Settings):
    """Settings of DMG; the defaults are the paper's."""

    overlap_weight: Weight = 0.1
    """λ_O, weight of the overlap loss (Equation 2)"""
    overlap_reduction: Literal["sum", "mean"] = "sum"
    """over the pairs of source domains: `sum` (paper) or `mean` (the authors' code)"""
    overlap_epsilon: Weight = 0.0
    """added above and below the soft IoU's fraction; 1e-6 in the authors' code"""
    sparsity_weight: Weight = 0.0
    """λ_S, weight of the sparsity loss (Section 7.2)"""
    classification_reduction: Literal["mean", "sum"] = "mean"
    """over the instances of a batch: λ_O = 0.1 is relative to the `mean`; `sum` takes Equation 2 to the letter"""
    initialisation: Literal["uniform"] | Annotated[float, Field(allow_inf_nan=False)] = "uniform"
    """of the mask logits: `uniform`, U(0, 1) (paper), or one number for all"""
    dropout: bool = False
    """keep the task network's dropout, that directly before it included, on while masks are learned (paper: off)"""
    average: Literal["logits", "probabilities"] = "logits"
    """what the prediction ensemble averages"""
    validation: Literal["predictions", "known", "known-hard"] = "predictions"
    """predictions that choose the best epoch: the ensemble, the own mask, or the own hard mask (the authors' code)"""


class DescribedDMG(Description):
    """DMG."""

    name = "dmg"
    summary = "domain-specific masks on the upper layers, kept apart by a soft-IoU overlap loss"
    paper = Paper(_DMG, _AUTHORS, _VENUE)
    Settings: ClassVar[type[DMGSettings]] = DMGSettings
    # Equation 2 sums over pairs of domains: of one there is none, and nothing would make its mask specific to it.
    fewest_sources: ClassVar[int] = 2

    @classmethod
    def has_masks(cls) -> bool:
        """DMG is about them."""
        return True


class DescribedAggregate(Description):
    """Aggregate."""

    name = "aggregate"
    summary = "one network on the pooled data of all sources"
    paper = Paper("Statistical Learning Theory (empirical risk minimisation)", "Vapnik", "Wiley 1998")


@dataclass(frozen=True)
class MultiHeadedSettings(Settings):
    """Settings of Multi-Headed."""

    average: Literal["logits", "probabilities"] = "logits"
    """what is averaged over the heads at test time"""
    validation: Literal["predictions", "known"] = "predictions"
    """predictions that choose the best epoch: the average of all heads, or each image's own head (the authors' code)"""


class DescribedMultiHeaded(Description):
    """Multi-Headed."""

    name = "multi_headed"
    summary = "one last layer per source on a shared network, averaged at test time"
    paper = Paper(f"{_DMG} (baseline)", _AUTHORS, _VENUE)
    Settings: ClassVar[type[MultiHeadedSettings]] = MultiHeadedSettings
