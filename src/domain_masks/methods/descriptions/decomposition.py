"""Methods that decompose a network into a part shared by all domains and domain-specific parts."""

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
    """α, weight of the domain-agnostic classifier, the mean of all sources' classifiers"""
    assignment: Literal["known", "predicted"] = "known"
    """domain weights of a training image: its `known` source, or those that the domain branch `predicted`"""
    domain_weight: Weight = 1.0
    """weight of the domain branch's loss"""


class DescribedFusion(Description):
    """Description of Fusion."""

    name = "fusion"
    cost = "1.0"
    summary = "trains one last layer per source and weights them by the predicted probability of each source"
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
    """k, number of specific last layers that the sources combine; less than the last layer's input features"""
    common_weight: Weight = 1.0
    """λ, weight of the cross entropy of the common part alone"""
    orthonormality_weight: Weight = 1.0
    """κ, weight of the penalty for common and specific weights of a class that are not orthonormal"""
    form: Literal["paper", "released-code"] = "paper"
    """`paper`: Algorithm 1; `released-code`: tanh of the factors, a factor of the common part too, and the mean penalty"""


class DescribedCSD(Description):
    """Description of CSD."""

    name = "csd"
    cost = "0.9"
    summary = "trains a common last layer with low-rank specific ones per source, which are discarded after training"
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
    """Settings of TF-CNN; the paper does not state its ranks, so each setting here says what its default is."""

    rank: Annotated[int, Field(ge=1)] | None = None
    """rank in a layer's inputs, and maximum rank in its outputs; default: the smaller of its input and output size"""
    domain_rank: Annotated[int, Field(ge=1)] | None = None
    """rank in the domains, the shared component included; default: number of sources + 1"""
    layers: Annotated[int, Field(ge=1)] = 1
    """number of last linear layers that depend on the domain"""


class DescribedTFCNN(Description):
    """Description of TF-CNN."""

    name = "tf_cnn"
    cost = "1.0"
    summary = "factorises the last layers into low-rank shared and per-source weights and predicts with the shared ones"
    family = "decomposition"
    paper = Paper("Deeper, Broader and Artier Domain Generalization", "Li et al.", "ICCV 2017")
    Settings: ClassVar[type[TFCNNSettings]] = TFCNNSettings
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {"method.domain_rank": Choice((2, 3, None))}


@dataclass(frozen=True)
class DMTAESettings(Settings):
    """Settings of D-MTAE; hidden units and corruption are the paper's values for digits."""

    hidden: Annotated[int, Field(ge=1)] = 500
    """number of sigmoid units of the shared encoder"""
    corruption: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """fraction of the input's entries that are set to 0; 0 is the paper's MTAE"""
    pretraining: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """fraction of the epochs that train encoder and decoders to reconstruct, before the classifier is trained"""
    learned: Literal["all", "encoder", "classifier"] = "all"
    """layers that the classification loss trains: `all`; on frozen features, `encoder` and classifier, or `classifier` alone"""


class DescribedDMTAE(Description):
    """Description of D-MTAE."""

    name = "d_mtae"
    cost = "0.7"
    summary = (
        "trains an encoder to reconstruct features of each source from those of the others, then a classifier on it"
    )
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
