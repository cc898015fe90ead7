"""Base of the algorithms' descriptions, which need no torch: enough to list methods and to check their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from domain_masks.methods.search_ranges import Range

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Type of a setting that weights a term of a loss: finite, 0 or more."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Paper:
    """Publication that a method is from."""

    title: str
    authors: str
    venue: str


@dataclass(frozen=True)
class Settings:
    """Base of a method's settings; a subclass's fields with their defaults are what users may set."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class Description:
    """The part of a :class:`~domain_masks.methods.base.Method` that needs no torch, which every method is.

    A separate class is worthwhile for built-in methods: a wrong setting is then reported before torch is imported. A method
    that is written in one file is its own description.
    """

    name: ClassVar[str]
    paper: ClassVar[Paper]
    summary: ClassVar[str]
    Settings: ClassVar[type[Settings]] = Settings
    family: ClassVar[str] = ""
    """Family of the method: one word, as those of this package in ``descriptions``."""
    cost: ClassVar[str] = ""
    """Measured time of a training step relative to ``aggregate``; empty if not measured."""
    needs: ClassVar[Literal["images", "features", "either"]] = "either"
    """``images`` if F must be trained or run again in each step, ``features`` if F is never trained, ``either`` otherwise."""
    fewest_sources: ClassVar[int] = 1
    """Minimum number of source domains; 2 or more for methods that compare domains."""
    rows_per_domain: ClassVar[int] = 0
    """Minimum number of images of every source in each batch, and in each process's part of it.

    If it is 1 or more, batches are sampled ``balanced`` unless ``defaults`` set another sampling.
    """
    scaled_gradients: ClassVar[bool] = True
    """Whether scaled gradients, as with ``--precision 16``, are supported; False for methods that read gradients themselves."""
    defaults: ClassVar[Mapping[str, Any]] = {}
    """The method's own defaults of run settings; used sparingly, as a comparison should train all methods alike."""
    search: ClassVar[Mapping[str, Range]] = {}
    """Search space of ``dmg benchmark --search``: ``method.NAME``, or a setting of the run such as ``lr``, -> its range."""

    @classmethod
    def has_masks(cls) -> bool:
        """Return whether the method learns masks, and so uses mask sites."""
        return False

    @classmethod
    def learns_masks(cls, settings: Mapping[str, Any]) -> bool:
        """Whether masks are learned with these ``settings`` of the method's own, some of which may be absent."""
        return cls.has_masks()

    @classmethod
    def has_sites(cls) -> bool:
        """Return whether the method uses the mask sites, for masks or other layers."""
        return cls.has_masks()

    @classmethod
    def is_closed_form(cls) -> bool:
        """Return whether the method is fitted in closed form, without gradients and epochs."""
        return False
