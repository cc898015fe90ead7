"""DMG and its family: one network, and a part of it per source domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings, Weight
from domain_masks.methods.search_ranges import Choice, Range, Uniform

DMG_PAPER = Paper(
    "Learning to Balance Specificity and Invariance for In and Out of Domain Generalization",
    "Chattopadhyay, Balaji, Hoffman",
    "ECCV 2020",
)


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
    cost = "1.1"
    summary = "domain-specific masks on the upper layers, kept apart by a soft-IoU overlap loss"
    family = "masks"
    paper = DMG_PAPER
    Settings: ClassVar[type[DMGSettings]] = DMGSettings
    # Equation 2 sums over pairs of domains: of one there is none, and nothing would make its mask specific to it.
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {"method.overlap_weight": Uniform(0.01, 1.0, log=True)}

    @classmethod
    def has_masks(cls) -> bool:
        """DMG is about them."""
        return True


@dataclass(frozen=True)
class ByDomainSettings(Settings):
    """Settings of methods that average the predictions by each domain's part."""

    average: Literal["logits", "probabilities"] = "logits"
    """what is averaged over the domains at test time"""
    validation: Literal["predictions", "known"] = "predictions"
    """predictions that choose the best epoch: the average over all domains, or by each image's own"""


@dataclass(frozen=True)
class DSBNSettings(ByDomainSettings):
    """Settings of batch norm by domain."""

    instance: bool = False
    """mix the image's own statistics in, in a share that each domain learns (DSON); without, DSBN"""


class DescribedDSBN(Description):
    """Batch norm by domain."""

    name = "dsbn"
    cost = "1.1"
    summary = (
        "batch norm of the upper layers once per source; with the setting instance mixed with instance norm (DSON)"
    )
    family = "masks"
    paper = Paper(
        "Domain-Specific Batch Normalization for Unsupervised Domain Adaptation; DSON: Learning to Optimize Domain Specific "
        "Normalization for Domain Generalization",
        "Chang, You, Seo, Kwak, Han; Seo, Suh, Kim, Kim, Han, Han",
        "CVPR 2019; ECCV 2020",
    )
    Settings: ClassVar[type[DSBNSettings]] = DSBNSettings
    rows_per_domain: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {"method.instance": Choice((False, True))}


@dataclass(frozen=True)
class LoRASettings(ByDomainSettings):
    """Settings of adapters by domain; the defaults are peft's."""

    rank: Annotated[int, Field(ge=1)] = 8
    """r, of the adapters; at most the channels of the narrowest site"""
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    """α: adapters count α/r times"""


class DescribedLoRA(Description):
    """Low-rank adapters by domain."""

    name = "lora"
    cost = "0.9"
    summary = "a low-rank adapter per source on the inputs of the upper layers, where DMG has masks"
    family = "masks"
    paper = Paper(
        "LoRA: Low-Rank Adaptation of Large Language Models", "Hu, Shen, Wallis, Allen-Zhu et al.", "ICLR 2022"
    )
    Settings: ClassVar[type[LoRASettings]] = LoRASettings
    search: ClassVar[Mapping[str, Range]] = {
        "method.rank": Choice((2, 4, 8, 16)),
        "method.alpha": Uniform(1.0, 32.0, log=True),
    }

    @classmethod
    def has_sites(cls) -> bool:
        """Its adapters are at the sites of masks."""
        return True


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedDMG, DescribedDSBN, DescribedLoRA)
