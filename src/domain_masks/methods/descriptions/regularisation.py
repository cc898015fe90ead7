"""Methods that regularise the way of the weights, or keep features near to what they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings, Weight
from domain_masks.methods.search_ranges import Choice, Range
from domain_masks.records.setting_types import as_names


@dataclass(frozen=True)
class MIROSettings(Settings):
    """Settings of MIRO; the defaults are the authors'."""

    weight: Weight = 0.1
    """λ, weight of the distances to the pretrained network's features"""
    modules: Annotated[tuple[str, ...] | None, BeforeValidator(as_names)] = None
    """whose outputs are compared, joined by commas; default: all stages, maxpool,layer1,...,layer4 of a ResNet"""


class DescribedMIRO(Description):
    """MIRO."""

    name = "miro"
    summary = "the features of every stage stay near to those of the pretrained network"
    family = "regularisation"
    paper = Paper(
        "Domain Generalization by Mutual-Information Regularization with Pre-trained Models",
        "Cha, Lee, Park, Chun",
        "ECCV 2022",
    )
    Settings: ClassVar[type[MIROSettings]] = MIROSettings
    needs: ClassVar[Literal["images", "features", "either"]] = "images"
    search: ClassVar[Mapping[str, Range]] = {"method.weight": Choice((0.001, 0.01, 0.1, 1.0))}


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedMIRO,)
