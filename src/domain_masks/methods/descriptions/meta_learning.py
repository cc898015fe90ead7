"""Methods that learn from episodes over the source domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Count, Description, Paper, Positive, Settings, Weight
from domain_masks.methods.search_ranges import Choice, Range, Uniform


class DescribedEpisodic(Description):
    """What methods need that hold sources out in every step."""

    family = "meta-learning"
    fewest_sources: ClassVar[int] = 2
    # Each part of a batch has batch norm of its own, which takes no statistics of a single image on a map of one pixel.
    rows_per_domain: ClassVar[int] = 2


@dataclass(frozen=True)
class EpisodeSettings(Settings):
    """Settings of a step on a copy of the weights."""

    inner_lr: Positive = 0.01
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
    cost = "4.0"
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
    cost = "4.0"
    summary = "weights from which a few steps on some sources lead to a low loss on those that are held out"
    paper = Paper(
        "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", "Finn, Abbeel, Levine", "ICML 2017"
    )
    Settings: ClassVar[type[MAMLSettings]] = MAMLSettings
    search: ClassVar[Mapping[str, Range]] = {
        "method.inner_lr": Uniform(1e-4, 0.1, log=True),
        "method.inner_steps": Choice((1, 2, 3)),
    }


@dataclass(frozen=True)
class MASFSettings(EpisodeSettings):
    """Settings of MASF; weights, temperature, margin and clipping are the authors'."""

    global_weight: Weight = 1.0
    """β1, weight of the alignment of the classes' soft labels across sources"""
    local_weight: Weight = 0.005
    """β2, weight of the triplet loss on the metric embedding"""
    temperature: Positive = 2.0
    """τ, by which the classes' mean logits are divided"""
    margin: Positive = 10.0
    """ξ, by which an image of another class must be farther than one of the same, in squared distance"""
    clip: Positive | None = 2.0
    """largest norm of each tensor's gradient in the inner step"""
    metric_lr: Positive = 1e-5
    """γ, learning rate of the metric embedding; at the network's the triplet loss soon outweighs all else"""


class DescribedMASF(DescribedEpisodic):
    """MASF."""

    name = "masf"
    cost = "4.8"
    summary = (
        "after a step on some sources, classes are related alike in the others, and images of a class lie together"
    )
    paper = Paper(
        "Domain Generalization via Model-Agnostic Learning of Semantic Features",
        "Dou, Castro, Kamnitsas, Glocker",
        "NeurIPS 2019",
    )
    Settings: ClassVar[type[MASFSettings]] = MASFSettings
    search: ClassVar[Mapping[str, Range]] = {
        "method.inner_lr": Uniform(1e-5, 0.1, log=True),
        "method.global_weight": Uniform(0.1, 10.0, log=True),
        "method.local_weight": Uniform(5e-4, 0.05, log=True),
    }


@dataclass(frozen=True)
class MetaRegSettings(Settings):
    """Settings of MetaReg; the paper's constants are not published, these are ours."""

    inner_lr: Positive = 0.01
    """α2, rate of the inner steps of a task network under the regulariser"""
    inner_steps: Count = 5
    """l, how many they are"""
    meta_lr: Positive = 0.1
    """rate of the regulariser's weights φ, which plain gradient descent learns"""
    initial: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """of all φ"""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """of the epochs in which the regulariser is learned; in the rest the final task network is"""


class DescribedMetaReg(DescribedEpisodic):
    """MetaReg."""

    name = "metareg"
    cost = "1.5"
    summary = "a weighted L1 penalty of the task network, learned so that what one source teaches serves another"
    paper = Paper(
        "MetaReg: Towards Domain Generalization using Meta-Regularization",
        "Balaji, Sankaranarayanan, Chellappa",
        "NeurIPS 2018",
    )
    Settings: ClassVar[type[MetaRegSettings]] = MetaRegSettings
    # By Adam its objective could not be optimised (footnote of Table 1).
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "sgd", "lr": 1e-2}
    search: ClassVar[Mapping[str, Range]] = {
        "method.inner_lr": Uniform(1e-3, 0.1, log=True),
        "method.inner_steps": Choice((1, 3, 5, 10)),
        "method.meta_lr": Uniform(1e-2, 10.0, log=True),
    }


@dataclass(frozen=True)
class EpiFCRSettings(Settings):
    """Settings of Epi-FCR; the weights are the paper's on PACS, the warm-up is that of the authors' code."""

    features_weight: Weight = 2.0
    """λ₁, weight of the features' loss under a wrong source's classifier"""
    classifier_weight: Weight = 0.05
    """λ₂, weight of the classifier's loss on a wrong source's features"""
    random_weight: Weight = 0.1
    """λ₃, weight of the features' loss under a classifier that stays as it was drawn"""
    episodes: Literal["all", "one"] = "all"
    """whose images meet a wrong source in a step: `all` (paper), or those of `one` source (the authors' code)"""
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.167
    """share of the epochs before the episodes, in which every network learns alone"""
    batch_norm: Literal["fixed", "learned"] = "fixed"
    """statistics of batch norm in training: fixed as the weights came with (the authors' code), or of the batches"""


class DescribedEpiFCR(Description):
    """Epi-FCR."""

    name = "epi_fcr"
    cost = "1.7"
    summary = "features that serve other sources' classifiers, and a classifier that serves other sources' features"
    family = "meta-learning"
    paper = Paper("Episodic Training for Domain Generalization", "Li et al.", "ICCV 2019")
    Settings: ClassVar[type[EpiFCRSettings]] = EpiFCRSettings
    fewest_sources: ClassVar[int] = 2
    search: ClassVar[Mapping[str, Range]] = {
        "method.features_weight": Uniform(0.1, 10.0, log=True),
        "method.classifier_weight": Uniform(0.01, 1.0, log=True),
        "method.random_weight": Uniform(0.01, 1.0, log=True),
    }


DESCRIPTIONS: tuple[type[Description], ...] = (
    DescribedMLDG,
    DescribedMAML,
    DescribedMASF,
    DescribedMetaReg,
    DescribedEpiFCR,
)
