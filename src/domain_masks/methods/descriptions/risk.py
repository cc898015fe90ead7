"""Methods that weight or compare the risks of the source domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings, Weight
from domain_masks.methods.search_ranges import Range, Uniform

Share = Annotated[float, Field(ge=0, lt=1)]


class DescribedRisk(Description):
    """Requirements of these methods."""

    family = "risk"
    fewest_sources: ClassVar[int] = 2
    rows_per_domain: ClassVar[int] = 1


@dataclass(frozen=True)
class WarmedUpSettings(Settings):
    """Settings of a penalty whose weight increases after a warm-up."""

    penalty_weight: Weight = 1.0
    """weight of the penalty after the warm-up"""
    warm_up: Share = 0.1
    """fraction of the epochs before the penalty has its full weight; the optimiser is reset at that point"""
    after_the_jump: Literal["loss", "rescaled"] = "loss"
    """objective after the warm-up: the `loss`, or `rescaled`, the loss divided by a weight above 1 (the authors' code)"""


@dataclass(frozen=True)
class IRMSettings(WarmedUpSettings):
    """Settings of IRM; the defaults are DomainBed's."""

    penalty_weight: Weight = 100.0
    """λ, weight of the penalty after the warm-up; 1 during it"""
    estimate: Literal["unbiased", "squared"] = "unbiased"
    """estimate of the squared gradient: product over two halves (DomainBed, Appendix D), or the square of all (ColoredMNIST)"""


class DescribedIRM(DescribedRisk):
    """Description of IRM."""

    name = "irm"
    cost = "1.0"
    summary = "penalises the gradient of each source's risk with respect to a scale of the classifier (IRMv1)"
    paper = Paper("Invariant Risk Minimization", "Arjovsky, Bottou, Gulrajani, Lopez-Paz", "arXiv 1907.02893, 2019")
    Settings: ClassVar[type[IRMSettings]] = IRMSettings
    # The unbiased estimate needs a gradient of each half of a source's images.
    rows_per_domain: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.penalty_weight": Uniform(0.1, 1e5, log=True),
        "method.warm_up": Uniform(2e-4, 0.9, log=True),
    }


@dataclass(frozen=True)
class VRExSettings(WarmedUpSettings):
    """Settings of V-REx; the defaults are DomainBed's."""

    penalty_weight: Weight = 10.0
    """β, weight of the variance after the warm-up; 1 during it"""


class DescribedVREx(DescribedRisk):
    """Description of V-REx."""

    name = "vrex"
    cost = "1.0"
    summary = "penalises the variance of the sources' risks"
    paper = Paper("Out-of-Distribution Generalization via Risk Extrapolation (REx)", "Krueger et al.", "ICML 2021")
    Settings: ClassVar[type[VRExSettings]] = VRExSettings
    search: ClassVar[Mapping[str, Range]] = {
        "method.penalty_weight": Uniform(0.1, 1e5, log=True),
        "method.warm_up": Uniform(2e-4, 0.9, log=True),
    }


@dataclass(frozen=True)
class GroupDROSettings(Settings):
    """Settings of GroupDRO; the default is that of the authors' code and of DomainBed."""

    step_size: Weight = 0.01
    """η, step size of the sources' weights"""


class DescribedGroupDRO(DescribedRisk):
    """Description of GroupDRO."""

    name = "groupdro"
    cost = "1.0"
    summary = "minimises a weighted mean of the sources' risks, with weights that increase with the risk"
    paper = Paper(
        "Distributionally Robust Neural Networks for Group Shifts", "Sagawa, Koh, Hashimoto, Liang", "ICLR 2020"
    )
    Settings: ClassVar[type[GroupDROSettings]] = GroupDROSettings
    search: ClassVar[Mapping[str, Range]] = {"method.step_size": Uniform(1e-3, 0.1, log=True)}


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedIRM, DescribedVREx, DescribedGroupDRO)
