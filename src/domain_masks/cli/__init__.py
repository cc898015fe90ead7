"""The command ``dmg``: parsing only, one thin file per verb."""

from domain_masks.cli.main import main

__all__ = ["main"]
