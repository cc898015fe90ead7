"""The settings of ``dmg train`` besides those of the run: where it is written, and what to do with what is there."""

from __future__ import annotations

from collections.abc import Iterator

from domain_masks.records.setting_types import Folder, setting
from domain_masks.settings.command import CommandSettings


class TrainSettings(CommandSettings):
    """What ``dmg train`` and ``dm.train`` need to know besides a :class:`~domain_masks.records.config.RunConfig`."""

    out: Folder | None = setting("the run folder", None, group="output", otherwise="runs/DATASET-TARGET-METHOD-SEED")
    resume: bool = setting("resume the run in --out, with its own settings", False, group="output")
    overwrite: bool = setting("replace the run in --out", False, group="output")
    print_config: bool = setting("print all settings as YAML and exit", False, group="output")

    def contradictions(self) -> Iterator[str]:
        """Yield a line where it is not said which run is to be resumed."""
        if self.resume and self.out is None:
            yield "expected --out with the folder of the run to resume"
