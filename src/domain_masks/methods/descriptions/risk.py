"""Methods that weigh or compare the risks of the source domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings, Weight
from domain_masks.methods.search_ranges import Range, Uniform

Share = Annotated[float, Field(ge=0, lt=1)]


class DescribedRisk(Description):
    """What these methods need."""

    family = "risk"
    fewest_sources: ClassVar[int] = 2
    rows_per_domain: ClassVar[int] = 1


@dataclass(frozen=True)
class WarmedUpSettings(Settings):
    """Settings of a penalty whose weight jumps after the first epochs."""

    penalty_weight: Weight = 1.0
    """weight of the penalty after the warm-up"""
    warm_up: Share = 0.1
    """share of the epochs before the penalty has its weight; the optimiser is reset after it"""
    after_the_jump: Literal["loss", "rescaled"] = "loss"
    """what is minimised then: the `loss`, or with a weight above 1 the loss divided by it (the authors' code), `rescaled`"""


@dataclass(frozen=True)
class IRMSettings(WarmedUpSettings):
    """Settings of IRM; the defaults are DomainBed's."""

    penalty_weight: Weight = 100.0
    """λ, weight of the penalty after the warm-up, in which it is 1"""
    estimate: Literal["unbiased", "squared"] = "unbiased"
    """of a squared gradient: the product of those of two halves (DomainBed, Appendix D), or the square of all (ColoredMNIST)"""


class DescribedIRM(DescribedRisk):
    """IRM."""

    name = "irm"
    cost = "1.0"
    summary = "a penalty on each source's gradient by a scale of the classifier, so that one is optimal for all (IRMv1)"
    paper = Paper("Invariant Risk Minimization", "Arjovsky, Bottou, Gulrajani, Lopez-Paz", "arXiv 1907.02893, 2019")
    Settings: ClassVar[type[IRMSettings]] = IRMSettings
    # Each half of a source's images has a gradient of its own.
    rows_per_domain: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.penalty_weight": Uniform(0.1, 1e5, log=True),
        "method.warm_up": Uniform(2e-4, 0.9, log=True),
    }


@dataclass(frozen=True)
class VRExSettings(WarmedUpSettings):
    """Settings of V-REx; the defaults are DomainBed's."""

    penalty_weight: Weight = 10.0
    """β, weight of the variance after the warm-up, in which it is 1"""


class DescribedVREx(DescribedRisk):
    """V-REx."""

    name = "vrex"
    cost = "1.0"
    summary = "a penalty on the variance of the sources' risks"
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
    """η, how fast the sources' weights follow their risks"""


class DescribedGroupDRO(DescribedRisk):
    """GroupDRO."""

    name = "groupdro"
    cost = "1.0"
    summary = "the sources' risks under weights that grow where the risk is high"
    paper = Paper(
        "Distributionally Robust Neural Networks for Group Shifts", "Sagawa, Koh, Hashimoto, Liang", "ICLR 2020"
    )
    Settings: ClassVar[type[GroupDROSettings]] = GroupDROSettings
    search: ClassVar[Mapping[str, Range]] = {"method.step_size": Uniform(1e-3, 0.1, log=True)}


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedIRM, DescribedVREx, DescribedGroupDRO)
