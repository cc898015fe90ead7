"""Methods that learn from episodes over the source domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings, Weight
from domain_masks.methods.search_ranges import Choice, Range, Uniform

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class DescribedEpisodic(Description):
    """What methods need that hold sources out in every step."""

    family = "meta-learning"
    fewest_sources: ClassVar[int] = 2
    # Each part of a batch has batch norm of its own, which takes no statistics of a single image on a map of one pixel.
    rows_per_domain: ClassVar[int] = 2


@dataclass(frozen=True)
class EpisodeSettings(Settings):
    """Settings of a step on a copy of the weights."""

    inner_lr: Rate = 0.01
    """α, rate of the step on the meta-train sources"""
    order: Literal["second", "first"] = "second"
    """whether the gradient goes through that of the inner step (`second`), or takes it as a constant (`first`)"""
    meta_test_domains: Count = 1
    """how many sources each episode holds out"""


@dataclass(frozen=True)
class MLDGSettings(EpisodeSettings):
    """Settings of MLDG."""

    beta: Weight = 1.0
    """β, weight of the risk on the held-out sources after the inner step"""
    inner_step: Literal["sgd", "adam"] = "sgd"
    """the inner step: plain gradient descent (paper), or the first step of Adam (DomainBed)"""


class DescribedMLDG(DescribedEpisodic):
    """MLDG."""

    name = "mldg"
    summary = "a step on some sources must lower the loss of the others too, which each step holds out anew"
    paper = Paper(
        "Learning to Generalize: Meta-Learning for Domain Generalization", "Li, Yang, Song, Hospedales", "AAAI 2018"
    )
    Settings: ClassVar[type[MLDGSettings]] = MLDGSettings
    search: ClassVar[Mapping[str, Range]] = {
        "method.inner_lr": Uniform(1e-4, 0.1, log=True),
        "method.beta": Uniform(0.1, 10.0, log=True),
    }


@dataclass(frozen=True)
class MAMLSettings(EpisodeSettings):
    """Settings of MAML."""

    inner_steps: Count = 1
    """how many steps on the meta-train sources come before the loss on the held-out ones; 3 in a public version"""


class DescribedMAML(DescribedEpisodic):
    """MAML."""

    name = "maml"
    summary = "weights from which a few steps on some sources lead to a low loss on those that are held out"
    paper = Paper(
        "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", "Finn, Abbeel, Levine", "ICML 2017"
    )
    Settings: ClassVar[type[MAMLSettings]] = MAMLSettings
    search: ClassVar[Mapping[str, Range]] = {
        "method.inner_lr": Uniform(1e-4, 0.1, log=True),
        "method.inner_steps": Choice((1, 2, 3)),
    }


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedMLDG, DescribedMAML)
