"""DMG and its family: one network with masks, batch norm or adapters per source domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

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
    """reduction over the pairs of source domains: `sum` (paper) or `mean` (the authors' code)"""
    overlap_epsilon: Weight = 0.0
    """added to numerator and denominator of the soft IoU; 1e-6 in the authors' code"""
    sparsity_weight: Weight = 0.0
    """λ_S, weight of the sparsity loss (Section 7.2)"""
    classification_reduction: Literal["mean", "sum"] = "mean"
    """reduction over the images of a batch: λ_O = 0.1 is relative to the `mean`; `sum` is Equation 2 literally"""
    initialisation: Literal["uniform"] | Annotated[float, Field(allow_inf_nan=False)] = "uniform"
    """initial mask logits: `uniform`, drawn from U(0, 1) (paper), or one number for all"""
    dropout: bool = False
    """apply the dropout of the task network, and dropout directly before it, while masks are trained (paper: off)"""
    average: Literal["logits", "probabilities"] = "logits"
    """outputs that the prediction ensemble averages"""
    validation: Literal["predictions", "known", "known-hard"] = "predictions"
    """predictions that select the best epoch: the ensemble, the own domain's mask, or its hard mask (the authors' code)"""
    masks: Literal["learned", "shared", "fixed", "binary"] = "learned"
    """ablations (docs/methods.md): one mask `shared` by all domains, initial masks kept `fixed`, or drawn once (`binary`)"""
    batch_norm: Literal["learned", "fixed"] = "learned"
    """batch-norm statistics in training: `learned` from the batches, or `fixed` to those of the initial weights"""


class DescribedDMG(Description):
    """Description of DMG."""

    name = "dmg"
    cost = "1.1"
    summary = (
        "learns domain-specific masks on the upper layers, with a soft-IoU loss on the overlap of different domains"
    )
    family = "masks"
    paper = DMG_PAPER
    Settings: ClassVar[type[DMGSettings]] = DMGSettings
    # Equation 2 sums over pairs of domains: with one domain there is no pair, and no loss makes its mask specific.
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {"method.overlap_weight": Uniform(0.01, 1.0, log=True)}

    @classmethod
    def has_masks(cls) -> bool:
        """Return True: DMG learns masks."""
        return True

    @classmethod
    def learns_masks(cls, settings: Mapping[str, Any]) -> bool:
        """Whether masks are learned; in two of the ablations they keep what they start with."""
        return settings.get("masks", "learned") in ("learned", "shared")


@dataclass(frozen=True)
class ByDomainSettings(Settings):
    """Settings of methods that average the predictions of all domains' layers."""

    average: Literal["logits", "probabilities"] = "logits"
    """outputs that are averaged over the domains at test time"""
    validation: Literal["predictions", "known"] = "predictions"
    """predictions that select the best epoch: the average over all domains, or those with each image's own domain"""


@dataclass(frozen=True)
class DSBNSettings(ByDomainSettings):
    """Settings of domain-specific batch norm."""

    instance: bool = False
    """mix batch norm with instance norm, by a share that each domain learns (DSON); otherwise DSBN"""


class DescribedDSBN(Description):
    """Description of domain-specific batch norm."""

    name = "dsbn"
    cost = "1.1"
    summary = "trains batch norm of the upper layers per source (DSBN), with `instance` mixed with instance norm (DSON)"
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
    """Settings of domain-specific adapters; the defaults are peft's."""

    rank: Annotated[int, Field(ge=1)] = 8
    """r, rank of the adapters; at most the channels of the narrowest site"""
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 8.0
    """α: adapters are scaled by α/r"""


class DescribedLoRA(Description):
    """Description of domain-specific low-rank adapters."""

    name = "lora"
    cost = "0.9"
    summary = "trains a low-rank adapter per source on the inputs of the upper layers, at the sites of DMG's masks"
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
        """Return True: the adapters are at the mask sites."""
        return True


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedDMG, DescribedDSBN, DescribedLoRA)
