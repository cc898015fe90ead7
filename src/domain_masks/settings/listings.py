"""The settings of ``dmg methods`` and ``dmg completion``, which only print."""

from __future__ import annotations

from typing import Annotated

from domain_masks.records.setting_types import Names, OneOf, setting
from domain_masks.settings.command import CommandSettings

SHELLS = ("bash", "zsh", "fish")


class MethodsSettings(CommandSettings):
    """Settings of ``dmg methods``."""

    names: Names = setting(
        "methods to show with their settings", (), positional=True, metavar="NAME", otherwise="a table of all"
    )


class CompletionSettings(CommandSettings):
    """Settings of ``dmg completion``."""

    shell: Annotated[str, OneOf(lambda: SHELLS)] = setting(
        "the shell", positional=True, missing=f"expected the shell: {', '.join(SHELLS)}"
    )
