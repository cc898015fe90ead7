"""Methods with episodic training: some sources are held out in each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Count, Description, Paper, Positive, Settings, Weight
from domain_masks.methods.search_ranges import Choice, Range, Uniform


class DescribedEpisodic(Description):
    """Requirements of methods that hold sources out in every step."""

    family = "meta-learning"
    fewest_sources: ClassVar[int] = 2
    # Batch norm runs on each part of a batch alone; it cannot compute statistics of a single image with 1x1 feature maps.
    rows_per_domain: ClassVar[int] = 2


@dataclass(frozen=True)
class EpisodeSettings(Settings):
    """Settings of the inner step, which is taken on a copy of the weights."""

    inner_lr: Positive = 0.01
    """α, learning rate of the inner step on the meta-train sources"""
    order: Literal["second", "first"] = "second"
    """order of the meta-gradient: `second` differentiates through the inner gradient, `first` treats it as a constant"""
    meta_test_domains: Count = 1
    """number of sources that each episode holds out (meta-test)"""


@dataclass(frozen=True)
class MLDGSettings(EpisodeSettings):
    """Settings of MLDG."""

    beta: Weight = 1.0
    """β, weight of the meta-test loss after the inner step"""
    inner_step: Literal["sgd", "adam"] = "sgd"
    """optimiser of the inner step: plain gradient descent (paper), or the first step of Adam (DomainBed)"""


class DescribedMLDG(DescribedEpisodic):
    """Description of MLDG."""

    name = "mldg"
    cost = "2.4"
    summary = "minimises the loss on some sources and, after a gradient step on them, on the held-out others"
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
    """number of inner steps on the meta-train sources before the meta-test loss; 3 in a public version"""


class DescribedMAML(DescribedEpisodic):
    """Description of MAML."""

    name = "maml"
    cost = "2.4"
    summary = "learns weights from which a few gradient steps on some sources give a low loss on the held-out others"
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
    """Settings of MASF; weights, temperature, margin and gradient clipping are the authors'."""

    global_weight: Weight = 1.0
    """β1, weight of the alignment of the classes' soft labels across sources"""
    local_weight: Weight = 0.005
    """β2, weight of the triplet loss on the metric embedding"""
    temperature: Positive = 2.0
    """τ, temperature of the softmax of the classes' mean logits"""
    margin: Positive = 10.0
    """ξ, margin of the triplet loss, in squared distance"""
    clip: Positive | None = 2.0
    """maximum norm of each tensor's gradient in the inner step"""
    metric_lr: Positive = 1e-5
    """γ, learning rate of the metric embedding; with the network's rate the triplet loss soon dominates"""


class DescribedMASF(DescribedEpisodic):
    """Description of MASF."""

    name = "masf"
    cost = "3.5"
    summary = (
        "after a step on some sources, aligns the classes' soft labels with those of the others, with a triplet loss"
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
    """Settings of MetaReg; the paper's constants are not published, so these are ours."""

    inner_lr: Positive = 0.01
    """α2, learning rate of the inner steps of a task network with the regulariser"""
    inner_steps: Count = 5
    """l, number of inner steps"""
    meta_lr: Positive = 1e-3
    """learning rate of the regulariser's weights φ, trained by plain gradient descent; φ grows with the length of the phase"""
    initial: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """initial value of all φ"""
    nonnegative: bool = True
    """set negative φ to zero after each update: with negative φ the penalty of a growing weight has no lower bound"""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """fraction of the epochs that train the regulariser; the rest train the final network with it"""


class DescribedMetaReg(DescribedEpisodic):
    """Description of MetaReg."""

    name = "metareg"
    cost = "1.5"
    summary = (
        "learns a weighted L1 penalty of the task network under which training on one source generalises to another"
    )
    paper = Paper(
        "MetaReg: Towards Domain Generalization using Meta-Regularization",
        "Balaji, Sankaranarayanan, Chellappa",
        "NeurIPS 2018",
    )
    Settings: ClassVar[type[MetaRegSettings]] = MetaRegSettings
    # The authors could not optimise the objective with Adam (footnote of Table 1).
    defaults: ClassVar[Mapping[str, Any]] = {"optimizer": "sgd", "lr": 1e-2}
    search: ClassVar[Mapping[str, Range]] = {
        "method.inner_lr": Uniform(1e-3, 0.1, log=True),
        "method.inner_steps": Choice((1, 3, 5, 10)),
        "method.meta_lr": Uniform(1e-4, 0.1, log=True),
    }


@dataclass(frozen=True)
class EpiFCRSettings(Settings):
    """Settings of Epi-FCR; the weights are the paper's for PACS, the warm-up is that of the authors' code."""

    features_weight: Weight = 2.0
    """λ₁, weight of the loss of the features under another source's classifier"""
    classifier_weight: Weight = 0.05
    """λ₂, weight of the loss of the classifier on another source's features"""
    random_weight: Weight = 0.1
    """λ₃, weight of the loss of the features under a frozen random classifier"""
    episodes: Literal["all", "one"] = "all"
    """sources whose images have the episodic losses in a step: `all` (paper), or `one` (the authors' code)"""
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.167
    """fraction of the epochs before the episodic losses are added, in which every network is trained alone"""
    batch_norm: Literal["fixed", "learned"] = "fixed"
    """batch-norm statistics in training: `fixed` to the initial weights' (the authors' code), or `learned` from the batches"""


class DescribedEpiFCR(Description):
    """Description of Epi-FCR."""

    name = "epi_fcr"
    cost = "1.7"
    summary = "trains features with other sources' classifiers, and a classifier with other sources' features"
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
