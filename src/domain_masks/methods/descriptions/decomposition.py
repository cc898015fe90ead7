"""Methods that divide a network into a part of all domains and parts of single ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings, Weight
from domain_masks.methods.search_ranges import Choice, Range, Uniform


@dataclass(frozen=True)
class FusionSettings(Settings):
    """Settings of Fusion."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.25
    """α, share of the domain-agnostic part, the mean of all sources' classifiers"""
    assignment: Literal["known", "predicted"] = "known"
    """of training images to sources: the `known` one, or what the domain branch `predicted`"""
    domain_weight: Weight = 1.0
    """weight of the domain branch's loss"""


class DescribedFusion(Description):
    """Fusion."""

    name = "fusion"
    cost = "1.0"
    summary = "one last layer per source, fused by how much an image is like each source"
    family = "decomposition"
    paper = Paper(
        "Best Sources Forward: Domain Generalization through Source-Specific Nets", "Mancini et al.", "ICIP 2018"
    )
    Settings: ClassVar[type[FusionSettings]] = FusionSettings
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.alpha": Uniform(0.0, 1.0),
        "method.domain_weight": Uniform(0.1, 10.0, log=True),
    }


@dataclass(frozen=True)
class CSDSettings(Settings):
    """Settings of CSD."""

    rank: Annotated[int, Field(ge=1)] = 1
    """k, how many specific last layers the sources mix; below the number of features that the last layer takes"""
    common_weight: Weight = 1.0
    """λ, weight of the cross entropy of the common part alone"""
    orthonormality_weight: Weight = 1.0
    """κ, weight of the penalty that keeps common and specific weights of a class orthonormal"""
    form: Literal["paper", "released-code"] = "paper"
    """`paper`: Algorithm 1; `released-code`: tanh of factors, one for the common part too, the penalty a mean"""


class DescribedCSD(Description):
    """CSD."""

    name = "csd"
    cost = "0.9"
    summary = "a last layer of all sources and low-rank specific ones beside it, which are thrown away after training"
    family = "decomposition"
    paper = Paper(
        "Efficient Domain Generalization via Common-Specific Low-Rank Decomposition",
        "Piratla, Netrapalli, Sarawagi",
        "ICML 2020",
    )
    Settings: ClassVar[type[CSDSettings]] = CSDSettings
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.rank": Choice((1, 2)),
        "method.common_weight": Uniform(0.1, 10.0, log=True),
        "method.orthonormality_weight": Uniform(0.01, 10.0, log=True),
    }


@dataclass(frozen=True)
class TFCNNSettings(Settings):
    """Settings of TF-CNN; the paper's ranks could not be had, and those here are stated where they stand."""

    rank: Annotated[int, Field(ge=1)] | None = None
    """directions of a layer's inputs, and at most so many of its outputs; by default as many as its smaller side has"""
    domain_rank: Annotated[int, Field(ge=1)] | None = None
    """directions in which domains differ, the shared one included; by default one more than there are sources"""
    layers: Annotated[int, Field(ge=1)] = 1
    """how many of the last linear layers depend on the domain"""


class DescribedTFCNN(Description):
    """TF-CNN."""

    name = "tf_cnn"
    cost = "1.0"
    summary = "low-rank weights of the last layers, a shared part and one per source; the shared part alone predicts"
    family = "decomposition"
    paper = Paper("Deeper, Broader and Artier Domain Generalization", "Li et al.", "ICCV 2017")
    Settings: ClassVar[type[TFCNNSettings]] = TFCNNSettings
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {"method.domain_rank": Choice((2, 3, None))}


@dataclass(frozen=True)
class DMTAESettings(Settings):
    """Settings of D-MTAE; hidden units and corruption are those of the paper's digits."""

    hidden: Annotated[int, Field(ge=1)] = 500
    """sigmoid units of the shared encoder"""
    corruption: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """share of an input's entries that are set to 0; 0 is the paper's MTAE"""
    pretraining: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """share of the epochs in which encoder and decoders learn to reconstruct, before classes are learned"""
    learned: Literal["all", "encoder", "classifier"] = "all"
    """by the classes' loss: `all` layers, or, on features that stay, `encoder` and classifier, or the `classifier` alone"""


class DescribedDMTAE(Description):
    """D-MTAE."""

    name = "d_mtae"
    cost = "0.7"
    summary = "an encoder that reconstructs features of each source from those of the others, then a classifier on it"
    family = "decomposition"
    paper = Paper(
        "Domain Generalization for Object Recognition with Multi-task Autoencoders", "Ghifary et al.", "ICCV 2015"
    )
    Settings: ClassVar[type[DMTAESettings]] = DMTAESettings
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.corruption": Uniform(0.0, 0.5),
        "method.pretraining": Uniform(0.1, 0.5),
    }


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedFusion, DescribedCSD, DescribedTFCNN, DescribedDMTAE)
