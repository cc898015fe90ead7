"""Methods that align the feature or gradient distributions of the source domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings, Weight
from domain_masks.methods.descriptions.risk import Share, WarmedUpSettings
from domain_masks.methods.search_ranges import Range, Uniform
from domain_masks.records.setting_types import as_names

Width = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class CORALSettings(Settings):
    """Settings of CORAL; the defaults are DomainBed's."""

    penalty_weight: Weight = 1.0
    """weight of the distance between the sources' statistics"""
    matched: Literal["mean-covariance", "covariance"] = "mean-covariance"
    """aligned statistics: mean and covariance (DomainBed), or a quarter of the covariance term alone (Deep CORAL, Eq. 1)"""


class DescribedCORAL(Description):
    """Description of CORAL."""

    name = "coral"
    cost = "1.2"
    summary = "aligns mean and covariance of the last layer's input between all pairs of sources"
    family = "alignment"
    paper = Paper("Deep CORAL: Correlation Alignment for Deep Domain Adaptation", "Sun, Saenko", "ECCV Workshops 2016")
    Settings: ClassVar[type[CORALSettings]] = CORALSettings
    fewest_sources: ClassVar[int] = 2
    # A covariance needs at least two images.
    rows_per_domain: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {"method.penalty_weight": Uniform(0.1, 10.0, log=True)}


@dataclass(frozen=True)
class MMDSettings(Settings):
    """Settings of MMD; the defaults are DomainBed's."""

    penalty_weight: Weight = 1.0
    """weight of the squared discrepancy between the sources"""
    gammas: Annotated[tuple[Width, ...], BeforeValidator(as_names), Field(min_length=1)] = (
        0.001,
        0.01,
        0.1,
        1.0,
        10.0,
        100.0,
        1000.0,
    )
    """gammas of the Gaussian kernels exp(-gamma · squared distance) that are summed, joined by commas"""


class DescribedMMD(Description):
    """Description of MMD."""

    name = "mmd"
    cost = "1.0"
    summary = "aligns the last layer's input between all pairs of sources by the maximum mean discrepancy"
    family = "alignment"
    paper = Paper(
        "Domain Generalization with Adversarial Feature Learning (its MMD, without the adversary)",
        "Li, Pan, Wang, Kot",
        "CVPR 2018",
    )
    Settings: ClassVar[type[MMDSettings]] = MMDSettings
    fewest_sources: ClassVar[int] = 2
    rows_per_domain: ClassVar[int] = 1
    search: ClassVar[Mapping[str, Range]] = {"method.penalty_weight": Uniform(0.1, 10.0, log=True)}


@dataclass(frozen=True)
class FishrSettings(WarmedUpSettings):
    """Settings of Fishr; the defaults are DomainBed's and those of the authors' code."""

    penalty_weight: Weight = 1000.0
    """λ, weight of the penalty after the warm-up; 0 during it"""
    warm_up: Share = 0.3
    """fraction of the epochs before the penalty is added; the optimiser is reset at that point"""
    moving_average: Share = 0.95
    """γ, momentum of the exponential moving average of the variances over batches"""


class DescribedFishr(Description):
    """Description of Fishr."""

    name = "fishr"
    cost = "1.0"
    summary = "aligns the variance of the last layer's gradients between the sources"
    family = "alignment"
    paper = Paper(
        "Fishr: Invariant Gradient Variances for Out-of-Distribution Generalization",
        "Rame, Dancette, Cord",
        "ICML 2022",
    )
    Settings: ClassVar[type[FishrSettings]] = FishrSettings
    fewest_sources: ClassVar[int] = 2
    # A variance needs at least two images.
    rows_per_domain: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.penalty_weight": Uniform(10.0, 1e4, log=True),
        "method.warm_up": Uniform(0.0, 0.9),
        "method.moving_average": Uniform(0.90, 0.99),
    }


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedCORAL, DescribedMMD, DescribedFishr)
