"""The paper's baselines (Section 4.1)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from domain_masks.methods.description import Description, Paper, Settings
from domain_masks.methods.descriptions.masks import DMG_PAPER


@dataclass(frozen=True)
class AggregateSettings(Settings):
    """Settings of Aggregate; values other than the defaults are ingredients of ERM++ (Teterwak et al., WACV 2025)."""

    head_first: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """fraction of the epochs, at the start, in which only the last layer is trained; 0: none"""
    batch_norm: Literal["learned", "fixed"] = "learned"
    """batch-norm statistics in training: `learned` from the batches, or `fixed` to those of the initial weights (DomainBed)"""


class DescribedAggregate(Description):
    """Description of Aggregate."""

    name = "aggregate"
    cost = "1.0"
    summary = "trains one network on the pooled data of all sources (empirical risk minimisation)"
    family = "baseline"
    paper = Paper("Statistical Learning Theory (empirical risk minimisation)", "Vapnik", "Wiley 1998")
    Settings: ClassVar[type[AggregateSettings]] = AggregateSettings


@dataclass(frozen=True)
class MultiHeadedSettings(Settings):
    """Settings of Multi-Headed."""

    average: Literal["logits", "probabilities"] = "logits"
    """outputs that are averaged over the heads at test time"""
    validation: Literal["predictions", "known"] = "predictions"
    """predictions that select the best epoch: average of all heads, or head of each image's own domain (the authors' code)"""
    batch_norm: Literal["learned", "fixed"] = "learned"
    """batch-norm statistics in training: `learned` from the batches, or `fixed` to those of the initial weights"""


class DescribedMultiHeaded(Description):
    """Description of Multi-Headed."""

    name = "multi_headed"
    cost = "1.1"
    summary = "trains a shared network with one last layer per source and averages their predictions at test time"
    family = "baseline"
    paper = Paper(f"{DMG_PAPER.title} (baseline)", DMG_PAPER.authors, DMG_PAPER.venue)
    Settings: ClassVar[type[MultiHeadedSettings]] = MultiHeadedSettings


DESCRIPTIONS: tuple[type[Description], ...] = (DescribedAggregate, DescribedMultiHeaded)
