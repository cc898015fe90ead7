"""The settings of ``dmg demo``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from domain_masks.records.setting_types import (
    AnyDevice,
    Ensemble,
    Folder,
    Metavar,
    ModelPlace,
    Names,
    PlaceText,
    setting,
)
from domain_masks.settings.command import MODEL_HELP, MODEL_MISSING, CommandSettings


class DemoSettings(CommandSettings):
    """Settings of ``dmg demo``."""

    model: ModelPlace = setting(MODEL_HELP, positional=True, missing=MODEL_MISSING)
    examples: Names = setting(
        "files, folders or patterns with example images",
        (),
        metavar="PATH",
        otherwise="held-out images of the run's dataset, else digits",
    )
    root: Folder | None = setting("where the run's dataset lies now, for the examples", None)
    ensemble: Ensemble = setting("how masks are combined at first; the page offers the others", "predictions")
    host: Annotated[PlaceText, Metavar("ADDRESS")] = setting(
        "address to listen on; 127.0.0.1 is this machine alone", "127.0.0.1"
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = setting("port to listen on; 0 for a free one", 7860)
    device: AnyDevice = setting("where to compute", "auto")

    def contradictions(self) -> Iterator[str]:
        """Yield a line where examples are given in two ways."""
        if self.examples and self.root is not None:
            yield "examples and root: expected one of them, root is where the run's own dataset lies"
