"""Methods that augment images or features, or mute some of them, during training."""

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
"""α of a symmetric Beta(α, α) distribution: below 1 most shares are near 0 or 1, above it near one half."""


@dataclass(frozen=True)
class MixupSettings(Settings):
    """Settings of Mixup; the defaults are DomainBed's."""

    alpha: Concentration = 0.2
    """α of the Beta(α, α) distribution of an image's share λ"""
    partners: Literal["next-domain", "any"] = "next-domain"
    """partners: from the next source in a random cycle, a λ per pair (DomainBed), or any, a λ per batch (Zhang et al.)"""


class DescribedMixup(Description):
    """Description of Mixup."""

    name = "mixup"
    cost = "1.0"
    summary = "trains on convex combinations of images, and of their labels, from two source domains"
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
    """probability that a module mixes its output in a step"""
    alpha: Concentration = 0.1
    """α of the Beta(α, α) distribution of the share λ of an image's own statistics"""
    partners: Literal["random", "next-domain"] = "random"
    """image whose statistics are mixed in: any image of the batch, or one of another source domain"""
    modules: Annotated[tuple[str, ...] | None, BeforeValidator(as_names)] = None
    """modules with mixed outputs, joined by commas; default: three stages before the last (layer1,layer2,layer3 of a ResNet)"""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """added to the variance"""


class DescribedMixStyle(Description):
    """Description of MixStyle."""

    name = "mixstyle"
    cost = "1.1"
    summary = "mixes means and standard deviations of two images' feature maps in the lower stages"
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
    """p, fraction of an image's features that is muted (1/3.2 of the channels in the authors' code)"""
    batch: Annotated[float, Field(gt=0, le=1)] = 1 / 3
    """b, fraction of the batch whose features are muted: the images whose true class loses most probability"""
    batch_rise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """increase of `batch` every ten epochs; the authors' code starts at 0.3 and adds 0.2"""
    muting: Literal["places-or-channels", "places", "channels", "elements"] = "places-or-channels"
    """muted units: positions (`places`) or channels, drawn per batch (paper), one of them, or single elements (DomainBed)"""
    places_by: Literal["activation", "gradient"] = "activation"
    """score of positions: activations weighted by the channels' gradients (the authors' code), or mean gradient (paper)"""
    module: str = ""
    """module of T with muted output; default: the last stage (layer4 of a ResNet), or the boundary's input if that is in F"""


class DescribedRSC(Description):
    """Description of RSC."""

    name = "rsc"
    cost = "1.0"
    summary = (
        "mutes the features that are most predictive of the true class, so that the network learns from the others"
    )
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
    """λ_adv, weight of the adversarial loss that trains F against the style network"""
    adversary: Literal["features", "normalisation"] = "features"
    """parameters that the adversarial loss trains: all of F (DomainBed), or its normalisation layers (the authors' code)"""


class DescribedSagNet(Description):
    """Description of SagNet."""

    name = "sagnet"
    cost = "1.1"
    summary = (
        "trains T under randomised styles, and F against a style network that is trained under randomised contents"
    )
    family = "augmentation"
    paper = Paper("Reducing Domain Gap by Reducing Style Bias", "Nam, Lee, Park, Yoon, Yoo", "CVPR 2021")
    Settings: ClassVar[type[SagNetSettings]] = SagNetSettings
    needs: ClassVar[Literal["images", "features", "either"]] = "images"
    search: ClassVar[Mapping[str, Range]] = {"method.adversary_weight": Uniform(0.01, 10.0, log=True)}


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedMixup, DescribedMixStyle, DescribedRSC, DescribedSagNet)
