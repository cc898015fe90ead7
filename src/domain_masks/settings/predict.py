"""The settings of ``dmg predict``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from domain_masks.records.setting_types import (
    AnyDevice,
    Ensemble,
    File,
    Metavar,
    ModelPlace,
    Names,
    PlaceText,
    Rate,
    Workers,
    setting,
)
from domain_masks.records.test_time import BATCH_NORM, AtTestTime
from domain_masks.settings.command import MODEL_HELP, MODEL_MISSING, CommandSettings
from domain_masks.settings.test_time import (
    ADAPT_HELP,
    RATE_HELP,
    TTA_HELP,
    Adaptation,
    Views,
    contradictions_of,
    of_test_time,
)

Count = Annotated[int, Field(ge=1, le=1_000_000)]


def _of_a_format(path: Path) -> Path:
    from domain_masks.deploy.predicting.prediction_writers import FORMATS  # noqa: PLC0415 - help needs no numpy

    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"expected a file name that ends in {', '.join(FORMATS)}")
    return path


def _of_a_table(path: Path) -> Path:
    if path.suffix.lower() != ".csv":
        raise ValueError("expected a file name that ends in .csv")
    return path


class PredictSettings(CommandSettings):
    """Settings of ``dmg predict``."""

    model: ModelPlace = setting(MODEL_HELP, positional=True, missing=MODEL_MISSING)
    paths: Names = setting(
        "files, folders (with all below), patterns in quotes, or - for a list of paths on standard input",
        positional=True,
        metavar="PATH",
        missing="expected images: files, folders, patterns in quotes, or - for a list on standard input",
    )
    ensemble: Ensemble = setting("how masks are combined; the votes of all masks are shown in any case", "predictions")
    top: Count | None = setting("number of classes per row", None, otherwise="5; 1 on a terminal")
    out: Annotated[File, AfterValidator(_of_a_format)] | None = setting(
        "where to write the rows", None, metavar="FILE.csv|.json|.jsonl", otherwise="CSV on standard output"
    )
    errors: Annotated[File, AfterValidator(_of_a_table)] | None = setting(
        "write the images that could not be read, with the reason", None, metavar="FILE.csv"
    )
    labels: Literal["folder"] | None = setting(
        "folder: compare the predictions with the names of the folders that the images lie in, and print the accuracy, by "
        "class and by mask",
        None,
    )
    null: bool = setting("paths on standard input end with a null byte instead of a line break", False, letter="-0")
    tta: Views | None = setting(TTA_HELP, None)
    adapt: Adaptation | None = setting(ADAPT_HELP, None)
    adapt_rate: Rate | None = setting(RATE_HELP, None, otherwise="0.001")
    batch: Count = setting("batch size; on a CPU at most 16 images are computed together, without --adapt", 64)
    workers: Workers | None = setting(
        "threads that load images and compute; with a GPU, processes that load", None, otherwise="by CPU cores"
    )
    device: AnyDevice = setting("where to compute", "auto")
    launcher: Literal["local", "ray"] | None = setting("this machine, or a Ray cluster", None)
    ray_address: Annotated[PlaceText, Metavar("ADDRESS")] | None = setting(
        "address of the cluster: auto, HOST:PORT, or local to start one here", None
    )
    jobs: Count | None = setting("shards in parallel on the cluster", None, otherwise="one per GPU or node")
    shard: Count | None = setting("images of a shard, which is kept when it is finished", None, otherwise="4096")

    @property
    def test_time(self) -> AtTestTime | None:
        """The option of predicting; None for ordinary predictions."""
        return of_test_time(self.tta, self.adapt, self.adapt_rate, self.batch)

    def contradictions(self) -> Iterator[str]:
        """Yield a line for each output that is a folder, for both in one file, and for options that exclude each other."""
        yield from contradictions_of(self.tta, self.adapt, self.adapt_rate)
        if self.adapt == BATCH_NORM and "-" in self.paths:
            yield "adapt: batch-norm reads the images twice, which standard input (-) does not allow: name files or folders"
        for name in ("tta", "adapt"):
            if getattr(self, name) is not None and self.launcher == "ray":
                yield f"{name}: is computed by one process: leave out --launcher ray"
        if self.labels is not None and self.launcher == "ray":
            yield "labels: the accuracy is computed by one process: leave out --launcher ray"
        named = {name: path for name in ("out", "errors") if (path := getattr(self, name)) is not None}
        for name, path in named.items():
            if path.is_dir():
                yield f"{name}: {str(path)!r} is a folder: expected a file name"
        if len(named) == 2 and len({path.absolute() for path in named.values()}) == 1:
            yield f"out and errors: expected two files, got {str(self.out)!r} for both"
        if self.launcher == "ray" and self.out is None:
            yield "out: --launcher ray needs a file that all nodes see: add --out FILE"
        for name in ("ray_address", "jobs", "shard"):
            if getattr(self, name) is not None and self.launcher != "ray":
                yield f"{name}: belongs to --launcher ray: add that, or leave it out"
