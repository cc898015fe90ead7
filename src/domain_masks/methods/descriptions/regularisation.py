"""Methods that regularise the optimisation, or the distance of features from the pretrained ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings, Weight
from domain_masks.methods.search_ranges import Choice, Range
from domain_masks.records.setting_types import as_names


@dataclass(frozen=True)
class MIROSettings(Settings):
    """Settings of MIRO; the defaults are the authors'."""

    weight: Weight = 0.1
    """λ, weight of the distance to the pretrained network's features"""
    modules: Annotated[tuple[str, ...] | None, BeforeValidator(as_names)] = None
    """modules whose outputs are compared, joined by commas; default: all stages (maxpool,layer1,...,layer4 of a ResNet)"""
    batch_norm: Literal["fixed", "learned"] = "fixed"
    """batch-norm statistics in training: `fixed` to the initial weights' (the authors' code), or `learned` from the batches"""


class DescribedMIRO(Description):
    """Description of MIRO."""

    name = "miro"
    cost = "1.3"
    summary = "penalises the distance of every stage's features from those of the pretrained network"
    family = "regularisation"
    paper = Paper(
        "Domain Generalization by Mutual-Information Regularization with Pre-trained Models",
        "Cha, Lee, Park, Chun",
        "ECCV 2022",
    )
    Settings: ClassVar[type[MIROSettings]] = MIROSettings
    needs: ClassVar[Literal["images", "features", "either"]] = "images"
    search: ClassVar[Mapping[str, Range]] = {"method.weight": Choice((0.001, 0.01, 0.1, 1.0))}


Radius = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class SAMSettings(Settings):
    """Settings of SAM; the default is the paper's."""

    radius: Radius = 0.05
    """ρ, Euclidean norm of the perturbation of all weights"""


class DescribedSAM(Description):
    """Description of SAM."""

    name = "sam"
    cost = "2.2"
    summary = "updates with the gradient at weights perturbed in the direction of increasing loss"
    family = "regularisation"
    paper = Paper(
        "Sharpness-Aware Minimization for Efficiently Improving Generalization",
        "Foret, Kleiner, Mobahi, Neyshabur",
        "ICLR 2021",
    )
    Settings: ClassVar[type[SAMSettings]] = SAMSettings
    scaled_gradients: ClassVar[bool] = False
    search: ClassVar[Mapping[str, Range]] = {"method.radius": Choice((0.01, 0.02, 0.05, 0.1))}


@dataclass(frozen=True)
class SAGMSettings(SAMSettings):
    """Settings of SAGM; the defaults are the authors' for PACS."""

    descent: Weight = 0.001
    """α, factor of the gradient that is subtracted from the perturbation of the weights"""


class DescribedSAGM(Description):
    """Description of SAGM."""

    name = "sagm"
    cost = "2.2"
    summary = "minimises the loss and SAM's perturbed loss, and aligns the directions of their gradients"
    family = "regularisation"
    paper = Paper("Sharpness-Aware Gradient Matching for Domain Generalization", "Wang, Zhang, Lei, Zhang", "CVPR 2023")
    Settings: ClassVar[type[SAGMSettings]] = SAGMSettings
    scaled_gradients: ClassVar[bool] = False
    search: ClassVar[Mapping[str, Range]] = {
        "method.radius": Choice((0.01, 0.02, 0.05, 0.1)),
        "method.descent": Choice((0.0005, 0.001, 0.01, 0.02, 0.05, 0.1)),
    }


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedMIRO, DescribedSAM, DescribedSAGM)
