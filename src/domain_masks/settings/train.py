"""The settings of ``dmg train`` besides those of the run: its folder, and what to do with an existing run there."""

from __future__ import annotations

from collections.abc import Iterator

from domain_masks.records.setting_types import Folder, setting
from domain_masks.settings.command import CommandSettings


class TrainSettings(CommandSettings):
    """Settings of ``dmg train`` and ``dm.train`` besides a :class:`~domain_masks.records.config.RunConfig`."""

    out: Folder | None = setting("the run folder", None, group="output", otherwise="runs/DATASET-TARGET-METHOD-SEED")
    resume: bool = setting("resume the run in --out, with its own settings", False, group="output")
    overwrite: bool = setting("replace the run in --out", False, group="output")
    print_config: bool = setting("print all settings as YAML and exit", False, group="output")

    def contradictions(self) -> Iterator[str]:
        """Yield a line where the folder of the run to resume is missing."""
        if self.resume and self.out is None:
            yield "expected --out with the folder of the run to resume"
