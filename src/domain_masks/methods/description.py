"""What is known of an algorithm without building it: enough to list it and to check its settings before torch is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict


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
    needs: ClassVar[Literal["images", "features", "either"]] = "either"

    fewest_sources: ClassVar[int] = 1

    @classmethod
    def has_masks(cls) -> bool:
        """Whether the method learns masks, so that mask sites mean something."""
        return False

    @classmethod
    def is_closed_form(cls) -> bool:
        """Whether the method is fitted at once, without gradients and epochs."""
        return False
