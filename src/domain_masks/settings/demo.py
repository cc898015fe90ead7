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
from domain_masks.records.test_time import AtTestTime
from domain_masks.settings.command import MODEL_HELP, MODEL_MISSING, CommandSettings
from domain_masks.settings.test_time import TTA_HELP, Adaptation, Views, of_test_time


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
    tta: Views | None = setting(f"{TTA_HELP}; the page and its API say so beside every prediction", None)
    adapt: Adaptation | None = setting(
        "refused: visitors' images are single ones, of any domain; `dmg predict` adapts to many of one domain", None
    )
    host: Annotated[PlaceText, Metavar("ADDRESS")] = setting(
        "address to listen on; 127.0.0.1 is this machine alone", "127.0.0.1"
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = setting("port to listen on; 0 for a free one", 7860)
    device: AnyDevice = setting("where to compute", "auto")

    @property
    def test_time(self) -> AtTestTime | None:
        """The option of predicting; None for ordinary predictions."""
        return of_test_time(self.tta, None, None, None)

    def contradictions(self) -> Iterator[str]:
        """Yield a line where examples are given in two ways, and for an adaptation."""
        if self.adapt is not None:
            yield (
                "adapt: the page does not adapt the model: that needs many images of one domain, and visitors upload single "
                "ones of any. Use --tta, which looks at each image alone, or predict the images of one domain together with "
                f"`dmg predict RUN PATH... --adapt {self.adapt}`"
            )
        if self.examples and self.root is not None:
            yield "examples and root: expected one of them, root is where the run's own dataset lies"
