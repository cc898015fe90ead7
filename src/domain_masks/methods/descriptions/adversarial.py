"""Methods with adversarial training: a domain classifier, and features or images trained against it."""

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
    """λ, weight of the reversed gradient of the domain net's loss; with a `growing` schedule its final value"""
    schedule: Literal["growing", "constant"] = "growing"
    """schedule of λ during training: `growing` from 0 (paper), or `constant` (DomainBed)"""
    sharpness: Positive = 10.0
    """γ, steepness of the schedule of λ: larger values reach the final λ earlier"""
    layers: Count = 3
    """number of linear layers of the domain net"""
    width: Count = 1024
    """hidden units per layer of the domain net; 256 in DomainBed"""
    domain_lr: Positive | None = None
    """learning rate of the domain net; default: the run's"""


class DescribedDANN(Description):
    """Description of DANN."""

    name = "dann"
    cost = "1.0"
    summary = (
        "trains a domain classifier and, by reversed gradients, features from which it cannot predict the source domain"
    )
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
    """α_l, weight of the perturbed images in the loss of the label net"""
    domain_weight: Share = 0.5
    """α_d, weight of the perturbed images in the loss of the domain net"""
    epsilon: Weight = 10.0
    """ε, step size of the perturbation along the clipped gradient; 1 in Dassl"""
    clip: Literal["none"] | Positive = 0.1
    """maximum absolute value of the gradient that perturbs an image, or `none` for no limit (paper)"""
    space: Literal["pixels", "normalised"] = "pixels"
    """space of the perturbation: `pixels` from -1 to 1 (the authors' code), or inputs `normalised` for the network (Dassl)"""
    domain_lr: Positive | None = None
    """learning rate of the domain net; default: the run's"""


class DescribedCrossGrad(Description):
    """Description of CrossGrad."""

    name = "crossgrad"
    cost = "5.0"
    summary = "trains a label net and a domain net, each also on images perturbed by the gradient of the other"
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
    """Settings of DSN; the weights are those of the public code, because the paper tuned its own on target images."""

    reconstruction_weight: Weight = 0.01
    """α, weight of the scale-invariant reconstruction loss of F's features"""
    difference_weight: Weight = 0.075
    """β, weight of the difference loss between private and shared encodings"""
    similarity_weight: Weight = 0.25
    """γ, weight of the domain net's loss and of its reversed gradient in the shared encoder"""
    difference_reduction: Literal["mean", "sum"] = "mean"
    """reduction over the correlation matrix: `mean` (the authors' code), or `sum`, the paper's squared Frobenius norm"""
    start: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """fraction of training before the three losses are added (the authors' code can delay them)"""
    width: Count = 256
    """hidden units of private encoders, decoder and domain net"""
    domain_lr: Positive | None = None
    """learning rate of the domain net; default: the run's"""


class DescribedDSN(Description):
    """Description of DSN."""

    name = "dsn"
    cost = "1.1"
    summary = "learns a shared encoding and a private one per source, orthogonal, whose sum reconstructs the features"
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
