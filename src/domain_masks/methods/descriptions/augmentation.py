"""Methods that change images or features, or hide a part of them, while they train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings, Weight
from domain_masks.methods.search_ranges import Choice, Range, Uniform
from domain_masks.records.setting_types import as_names

Share = Annotated[float, Field(gt=0, lt=1)]
Concentration = Annotated[float, Field(gt=0, le=100)]
"""Of a symmetric Beta distribution: below 1 most blends are nearly one of the two, above it nearly half of each."""


@dataclass(frozen=True)
class MixupSettings(Settings):
    """Settings of Mixup; the defaults are DomainBed's."""

    alpha: Concentration = 0.2
    """α of the Beta(α, α) that the share λ of an image is drawn from"""
    partners: Literal["next-domain", "any"] = "next-domain"
    """of the next source in a random ring, a λ per pair of sources (DomainBed); or any, a λ per batch (Zhang et al.)"""


class DescribedMixup(Description):
    """Mixup."""

    name = "mixup"
    cost = "1.0"
    summary = "images of two source domains, and their labels, are blended"
    family = "augmentation"
    paper = Paper(
        "mixup: Beyond Empirical Risk Minimization; between domains: Adversarial Domain Adaptation with Domain Mixup",
        "Zhang, Cisse, Dauphin, Lopez-Paz; Xu, Zhang, Ni, Li, Wang, Tian, Zhang",
        "ICLR 2018; AAAI 2020",
    )
    Settings: ClassVar[type[MixupSettings]] = MixupSettings
    needs: ClassVar[Literal["images", "features", "either"]] = "images"
    search: ClassVar[Mapping[str, Range]] = {"method.alpha": Uniform(0.1, 10.0, log=True)}


@dataclass(frozen=True)
class MixStyleSettings(Settings):
    """Settings of MixStyle; the defaults are the authors' for PACS."""

    probability: Annotated[float, Field(gt=0, le=1)] = 0.5
    """that a module mixes in a step"""
    alpha: Concentration = 0.1
    """α of the Beta(α, α) that the share λ of an image's own statistics is drawn from"""
    partners: Literal["random", "next-domain"] = "random"
    """whose statistics are mixed in: of any image of the batch, or of one of another source domain"""
    modules: Annotated[tuple[str, ...] | None, BeforeValidator(as_names)] = None
    """whose outputs are mixed, joined by commas; default: the three stages before the last, layer1,layer2,layer3 of a ResNet"""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """added to the variance"""


class DescribedMixStyle(Description):
    """MixStyle."""

    name = "mixstyle"
    cost = "1.1"
    summary = "means and deviations of two images' feature maps are mixed in the lower stages"
    family = "augmentation"
    paper = Paper("Domain Generalization with MixStyle", "Zhou, Yang, Qiao, Xiang", "ICLR 2021")
    Settings: ClassVar[type[MixStyleSettings]] = MixStyleSettings
    needs: ClassVar[Literal["images", "features", "either"]] = "images"
    search: ClassVar[Mapping[str, Range]] = {
        "method.alpha": Uniform(0.1, 1.0, log=True),
        "method.partners": Choice(("random", "next-domain")),
    }


@dataclass(frozen=True)
class RSCSettings(Settings):
    """Settings of RSC; the defaults are the paper's."""

    features: Share = 1 / 3
    """p, the share of an image's features that is muted (channels in the authors' code: 1/3.2)"""
    batch: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    """b, the share of the images that is muted: those whose own class loses most by it"""
    batch_rise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """what is added to `batch` every ten epochs; 0.2, from a batch of 0.3 on, in the authors' code"""
    muting: Literal["places-or-channels", "places", "channels", "elements"] = "places-or-channels"
    """what is muted: places or channels, by a draw per batch (paper), one of them, or single elements (DomainBed)"""
    places_by: Literal["activation", "gradient"] = "activation"
    """what ranks places: activations by the channels' gradients (the authors' code), or the mean gradient (paper's text)"""
    module: str = ""
    """module of T whose output is muted; default: the last stage (layer4 of a ResNet), or else the boundary's input"""


class DescribedRSC(Description):
    """RSC."""

    name = "rsc"
    cost = "1.0"
    summary = "the features that speak most for the own class are muted, so that others have to be learned"
    family = "augmentation"
    paper = Paper("Self-Challenging Improves Cross-Domain Generalization", "Huang, Wang, Xing, Huang", "ECCV 2020")
    Settings: ClassVar[type[RSCSettings]] = RSCSettings
    search: ClassVar[Mapping[str, Range]] = {
        "method.features": Uniform(0.05, 0.5),
        "method.batch": Uniform(0.05, 0.5),
    }


@dataclass(frozen=True)
class SagNetSettings(Settings):
    """Settings of SagNet; the defaults are the paper's."""

    adversary_weight: Weight = 0.1
    """λ_adv, weight of the loss by which F hides from the style network"""
    adversary: Literal["features", "normalisation"] = "features"
    """what that loss trains: all of F (DomainBed), or weight and bias of its normalisation layers alone (the authors' code)"""


class DescribedSagNet(Description):
    """SagNet."""

    name = "sagnet"
    cost = "1.1"
    summary = "T sees random styles; a second T, which sees random contents, is what F learns to deceive"
    family = "augmentation"
    paper = Paper("Reducing Domain Gap by Reducing Style Bias", "Nam, Lee, Park, Yoon, Yoo", "CVPR 2021")
    Settings: ClassVar[type[SagNetSettings]] = SagNetSettings
    needs: ClassVar[Literal["images", "features", "either"]] = "images"
    search: ClassVar[Mapping[str, Range]] = {"method.adversary_weight": Uniform(0.01, 10.0, log=True)}


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedMixup, DescribedMixStyle, DescribedRSC, DescribedSagNet)
