"""The command ``dmg``: parsing only, one thin file per command."""

from domain_masks.cli.main import main

__all__ = ["main"]
