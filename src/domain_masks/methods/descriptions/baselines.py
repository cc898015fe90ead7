"""The paper's baselines (Section 4.1)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings
from domain_masks.methods.descriptions.masks import DMG_PAPER


@dataclass(frozen=True)
class AggregateSettings(Settings):
    """Settings of Aggregate; those but the defaults are ingredients of ERM++ (Teterwak et al., WACV 2025) and its rivals."""

    head_first: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of the epochs in which the last layer learns alone, before the whole network does; 0: none"""
    batch_norm: Literal["learned", "fixed"] = "learned"
    """statistics of batch norm in training: of the batches, or fixed as the weights came with (DomainBed)"""


class DescribedAggregate(Description):
    """Aggregate."""

    name = "aggregate"
    cost = "1.0"
    summary = "one network on the pooled data of all sources"
    family = "baseline"
    paper = Paper("Statistical Learning Theory (empirical risk minimisation)", "Vapnik", "Wiley 1998")
    Settings: ClassVar[type[AggregateSettings]] = AggregateSettings


@dataclass(frozen=True)
class MultiHeadedSettings(Settings):
    """Settings of Multi-Headed."""

    average: Literal["logits", "probabilities"] = "logits"
    """what is averaged over the heads at test time"""
    validation: Literal["predictions", "known"] = "predictions"
    """predictions that choose the best epoch: the average of all heads, or each image's own head (the authors' code)"""


class DescribedMultiHeaded(Description):
    """Multi-Headed."""

    name = "multi_headed"
    cost = "1.1"
    summary = "one last layer per source on a shared network, averaged at test time"
    family = "baseline"
    paper = Paper(f"{DMG_PAPER.title} (baseline)", DMG_PAPER.authors, DMG_PAPER.venue)
    Settings: ClassVar[type[MultiHeadedSettings]] = MultiHeadedSettings


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedAggregate, DescribedMultiHeaded)
