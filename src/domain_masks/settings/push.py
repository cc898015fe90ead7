"""The settings of ``dmg push``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import StrictBool

from domain_masks.records.setting_types import Metavar, ModelPlace, PlaceText, setting
from domain_masks.settings.command import MODEL_HELP, MODEL_MISSING, CommandSettings


class PushSettings(CommandSettings):
    """Settings of ``dmg push``."""

    model: ModelPlace = setting(MODEL_HELP, positional=True, missing=MODEL_MISSING)
    name: Annotated[PlaceText, Metavar("OWNER/NAME")] = setting(
        "the repository on the Hub, created if there is none",
        positional=True,
        missing="expected OWNER/NAME, the name of the repository on the Hub. See `dmg push --help`",
    )
    public: StrictBool = setting(
        "create a public repository, not a private one; one that exists keeps its visibility", False
    )
    figures: StrictBool = setting("upload the figures of `dmg analyze` that show no images of the dataset", True)
    dry_run: StrictBool = setting("show the files and the model card, and upload nothing", False)

    def contradictions(self) -> Iterator[str]:
        """Yield a line where the name has no owner."""
        if self.name.count("/") != 1 or not all(self.name.split("/")):
            yield f"name: expected OWNER/NAME, as in someone/sketches, got {self.name!r}"
