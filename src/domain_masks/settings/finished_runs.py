"""The settings of ``dmg evaluate``, ``dmg analyze`` and ``dmg report``, which read finished runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool

from domain_masks.evaluation.selection_rules import SELECTION_RULES, SOURCE_VALIDATION
from domain_masks.records.setting_types import (
    Count,
    DatasetPlace,
    Device,
    Ensemble,
    Folder,
    Names,
    OneOf,
    Rate,
    setting,
)
from domain_masks.records.test_time import AtTestTime
from domain_masks.settings.command import CommandSettings
from domain_masks.settings.test_time import (
    ADAPT_HELP,
    RATE_HELP,
    TTA_HELP,
    Adaptation,
    Views,
    contradictions_of,
    of_test_time,
)


class _MovedDataset(CommandSettings):
    """Settings of a finished run that may be replaced: the location of its dataset, and the device."""

    dataset: DatasetPlace | None = setting("the dataset, if it has moved", None)
    root: Folder | None = setting("where the dataset lies now", None)
    device: Device | None = setting("where to compute", None, otherwise="as the run's settings say")

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that replace the run's own."""
        return {name: value for name in _MovedDataset.model_fields if (value := getattr(self, name)) is not None}


class EvaluateSettings(_MovedDataset):
    """Settings of ``dmg evaluate``."""

    run: Folder = setting(
        "a run folder",
        positional=True,
        metavar="RUN",
        missing="expected RUN, the folder of a run. See `dmg evaluate --help`",
    )
    ensemble: Ensemble | None = setting(
        "how masks are combined in the accuracies that are shown; results.json has all of them",
        None,
        otherwise="predictions",
    )
    calibrate: bool | None = setting(
        "fit a temperature of the probabilities on the sources' validation images; no predicted class changes",
        None,
        otherwise="as the run is",
    )

    tta: Views | None = setting(TTA_HELP, None)
    adapt: Adaptation | None = setting(ADAPT_HELP, None)
    adapt_rate: Rate | None = setting(RATE_HELP, None, otherwise="0.001")
    adapt_batch: Count | None = setting("images per batch of an adaptation", None, otherwise="64")
    out: Folder | None = setting("folder of the results under --tta or --adapt, which do not replace the run's", None)

    @property
    def test_time(self) -> AtTestTime | None:
        """The option of predicting; None for ordinary predictions."""
        return of_test_time(self.tta, self.adapt, self.adapt_rate, self.adapt_batch)

    def contradictions(self) -> Iterator[str]:
        """Yield a line for each contradiction between the options of test time, and with settings that they exclude."""
        yield from contradictions_of(self.tta, self.adapt, self.adapt_rate)
        if self.adapt_batch is not None and self.adapt is None:
            yield "adapt_batch: belongs to --adapt: add that, or leave it out"
        if self.test_time is None:
            if self.out is not None:
                yield "out: belongs to --tta and --adapt: without them the run's own results are written again"
            return
        if self.out is None:
            yield "out: results under --tta and --adapt do not replace those of the run: add --out DIR"
        if self.calibrate:
            yield "calibrate: a temperature is fitted to ordinary predictions: leave out --tta and --adapt"

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that replace the run's own."""
        return super().changes | ({} if self.calibrate is None else {"calibrate": self.calibrate})


class AnalyzeSettings(_MovedDataset):
    """Settings of ``dmg analyze``."""

    reads_run_config: ClassVar[bool] = True

    runs: Names = setting(
        "run folders, or folders with runs below",
        positional=True,
        metavar="RUN|DIR",
        missing="expected at least one RUN, a run folder or a folder with runs. See `dmg analyze --help`",
    )
    device: Device | None = setting("where to compute", None, otherwise="auto")
    images: Count | Literal["all"] = setting(
        "images of the ablation, of differing channels and of the feature map, sampled from all domains", 500
    )
    heat_maps: Annotated[int, Field(ge=0)] = setting("images per domain with class activation maps; 0 for none", 3)
    channels: Annotated[int, Field(ge=0)] = setting("differing channels shown for each pair of masks; 0 for none", 6)
    projection: Literal["pca", "umap", "none"] = setting(
        "how features are shown in two dimensions; umap needs the extra umap", "pca"
    )
    no_model: bool = setting("skip what needs the model: ablation, class activation maps, features", False)
    no_images: bool = setting("skip what needs images: the model's part, and thumbnails in galleries", False)


class ReportSettings(CommandSettings):
    """Settings of ``dmg report``."""

    runs: Names = setting(
        "run folders, or folders with runs anywhere below",
        positional=True,
        metavar="DIR",
        missing="expected at least one DIR, a run folder or a folder with runs. See `dmg report --help`",
    )
    out: Folder | None = setting(
        "folder of the report", None, otherwise="DIR/report; RUN/report.html for a single run folder"
    )
    select: Annotated[str, OneOf(lambda: SELECTION_RULES)] = setting(
        "what selects among the settings of a method; oracle uses the held-out domain and is marked in red",
        SOURCE_VALIDATION,
        metavar="RULE",
    )
    gallery: StrictBool = setting("show images in the page", True)
