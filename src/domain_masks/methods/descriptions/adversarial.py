"""Methods with a part of the network that works against another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Count, Description, Paper, Positive, Settings, Weight
from domain_masks.methods.search_ranges import Choice, Range, Uniform

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class DANNSettings(Settings):
    """Settings of DANN; the defaults are the paper's."""

    weight: Weight = 1.0
    """λ, how much the features work against the domain net; where it grows, what it grows to"""
    schedule: Literal["growing", "constant"] = "growing"
    """of λ over the training: `growing` from 0 (paper), or `constant` (DomainBed)"""
    sharpness: Positive = 10.0
    """γ, how early λ grows"""
    layers: Count = 3
    """linear layers of the domain net"""
    width: Count = 1024
    """neurons of the layers inside the domain net; 256 in DomainBed"""
    domain_lr: Positive | None = None
    """learning rate of the domain net; by default the run's"""


class DescribedDANN(Description):
    """DANN."""

    name = "dann"
    cost = "1.0"
    summary = "a domain classifier learns to tell the sources apart, the features that it cannot"
    family = "adversarial"
    paper = Paper("Domain-Adversarial Training of Neural Networks", "Ganin et al.", "JMLR 2016")
    Settings: ClassVar[type[DANNSettings]] = DANNSettings
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.weight": Uniform(0.01, 10.0, log=True),
        "method.schedule": Choice(("growing", "constant")),
    }


@dataclass(frozen=True)
class CrossGradSettings(Settings):
    """Settings of CrossGrad; the defaults are the authors' code's."""

    label_weight: Share = 0.5
    """α_l, share of the perturbed images in the loss of the label net"""
    domain_weight: Share = 0.5
    """α_d, share of the perturbed images in the loss of the domain net"""
    epsilon: Weight = 10.0
    """ε, how far images move along the clipped gradient; 1 in Dassl"""
    clip: Literal["none"] | Positive = 0.1
    """largest absolute value of the gradient by which an image moves, or `none` for no limit (paper)"""
    space: Literal["pixels", "normalised"] = "pixels"
    """in which images move: `pixels` from -1 to 1 (the authors' code), or as `normalised` for the network (Dassl)"""
    domain_lr: Positive | None = None
    """learning rate of the domain net; by default the run's"""


class DescribedCrossGrad(Description):
    """CrossGrad."""

    name = "crossgrad"
    cost = "5.0"
    summary = "label net and domain net, each also trained on images that the other one's gradient has perturbed"
    family = "adversarial"
    paper = Paper("Generalizing Across Domains via Cross-Gradient Training", "Shankar et al.", "ICLR 2018")
    Settings: ClassVar[type[CrossGradSettings]] = CrossGradSettings
    needs: ClassVar[Literal["images", "features", "either"]] = "images"
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.epsilon": Uniform(0.1, 100.0, log=True),
        "method.label_weight": Uniform(0.1, 0.9),
    }


@dataclass(frozen=True)
class DSNSettings(Settings):
    """Settings of DSN; the weights are those of the public code, as the paper chose its own on target images."""

    reconstruction_weight: Weight = 0.01
    """α, weight of the scale-invariant reconstruction of F's features"""
    difference_weight: Weight = 0.075
    """β, weight of the difference loss between private and shared encoding"""
    similarity_weight: Weight = 0.25
    """γ, weight of the domain net's loss, and of what the shared encoder has against it"""
    difference_reduction: Literal["mean", "sum"] = "mean"
    """over the entries of the correlation matrix: `mean` (the authors' code), or `sum`, the paper's Frobenius norm"""
    start: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of the training before the three losses count (the authors' code can delay them)"""
    width: Count = 256
    """neurons of the layer inside private encoders, decoder and domain net"""
    domain_lr: Positive | None = None
    """learning rate of the domain net; by default the run's"""


class DescribedDSN(Description):
    """DSN."""

    name = "dsn"
    cost = "1.1"
    summary = (
        "a private encoding of every source and a shared one: orthogonal, together enough to reconstruct the features"
    )
    family = "adversarial"
    paper = Paper("Domain Separation Networks", "Bousmalis et al.", "NeurIPS 2016")
    Settings: ClassVar[type[DSNSettings]] = DSNSettings
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.reconstruction_weight": Uniform(0.001, 0.3, log=True),
        "method.difference_weight": Uniform(0.01, 1.0, log=True),
        "method.similarity_weight": Uniform(0.01, 1.0, log=True),
    }


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedDANN, DescribedCrossGrad, DescribedDSN)
