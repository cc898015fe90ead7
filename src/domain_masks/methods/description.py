"""Descriptions of algorithms that need no torch: enough to list them and to check their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from domain_masks.methods.search_ranges import Range

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
"""Type of a setting that weights a term of a loss."""


@dataclass(frozen=True)
class Paper:
    """Where a method comes from."""

    title: str
    authors: str
    venue: str


@dataclass(frozen=True)
class Settings:
    """Base of a method's settings; a subclass's fields with their defaults are what users may set."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class Description:
    """The part of a :class:`~domain_masks.methods.base.Method` that needs no torch, which every method is.

    A class of its own pays for methods that a command line names: a mistake in their settings is then told at once. A method
    that is written in one file is its own description.
    """

    name: ClassVar[str]
    paper: ClassVar[Paper]
    summary: ClassVar[str]
    Settings: ClassVar[type[Settings]] = Settings
    family: ClassVar[str] = ""
    """What kind of method it is: one word, as those of this package in ``descriptions``."""
    cost: ClassVar[str] = ""
    """How long a step of training takes relative to ``aggregate``, as measured; empty where it was not."""
    needs: ClassVar[Literal["images", "features", "either"]] = "either"
    """``images`` where F must be trained or run anew at each step, ``features`` where F is never trained."""
    fewest_sources: ClassVar[int] = 1
    """How many source domains it needs; 2 or more where it compares domains."""
    rows_per_domain: ClassVar[int] = 0
    """How many images of every source each batch, and each process's part of it, must have at least.

    From 1 on batches are sampled ``balanced`` unless ``defaults`` say otherwise.
    """
    scaled_gradients: ClassVar[bool] = True
    """Whether it can do with gradients that are scaled, as with ``--precision 16``; not where it reads them itself."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """The method's own defaults of run settings, used sparingly: one protocol for all is the point of a comparison."""
    search: ClassVar[Mapping[str, Range]] = {}
    """Where ``dmg benchmark --search`` looks: ``method.NAME``, or a setting of the run such as ``lr``, and its range."""

    @classmethod
    def has_masks(cls) -> bool:
        """Whether the method learns masks, so that mask sites mean something."""
        return False

    @classmethod
    def has_sites(cls) -> bool:
        """Whether the method does something at the sites of masks."""
        return cls.has_masks()

    @classmethod
    def is_closed_form(cls) -> bool:
        """Whether the method is fitted at once, without gradients and epochs."""
        return False
