"""The settings of one run, complete: what ``config.yaml`` holds and what the flags of ``dmg train`` set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from domain_masks.errors import InputError, combine_errors
from domain_masks.records.files import check_schema, write_whole
from domain_masks.records.setting_types import (
    Colour,
    Count,
    Folder,
    NotNegative,
    Place,
    Rate,
    Seed,
    as_domains,
    as_list,
    as_range,
    as_seconds,
    bounds_of,
    check_mean,
    check_std,
    three_numbers,
)
from domain_masks.records.spellings import canonical
from domain_masks.records.validation import describe_mistakes
from domain_masks.records.yaml_files import read_yaml, to_yaml
from domain_masks.sampling import SAMPLING
from domain_masks.schedules import SCHEDULES

SCHEMA = 1
AUTO = "auto"
DEFAULT_BATCH = 64
NOT_COMPUTED = frozenset(
    {
        "workers",
        "device",
        "devices",
        "threads",
        "checkpoint_every",
        "verify",
        "domain_classifier",
        "dataset",
        "root",
        "plugin",
    }
)
"""Settings that do not decide what a run learns; whether images and plugins are still the same is looked at by itself."""

CHOICES: dict[str, Callable[[], Iterable[str]]] = {
    "sampling": lambda: SAMPLING,
    "schedule": lambda: SCHEDULES,
    "schedule_masks": lambda: ("same", *SCHEDULES),
}
"""Setting -> the names that it can be, where those are the names of a dict that anyone may add to."""


def _setting(group: str, help_text: str, default: Any = None) -> Any:
    return Field(default=default, description=help_text, json_schema_extra={"group": group})


class RunConfig(BaseModel):
    """Everything that decides what a run computes; a setting that is None takes the dataset's default.

    Raises InputError through :func:`parse_config`, which lists all mistakes at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Place = _setting(
        "data", "a name from `dmg data list`, a folder domain/class/image, a manifest, or hf:NAME", "digits"
    )
    root: Folder | None = _setting(
        "data", "the dataset's folder or its parent; default $DMG_DATA. Of a manifest: where paths start"
    )
    target: Annotated[tuple[str, ...] | None, BeforeValidator(as_domains)] = _setting(
        "data", "held-out domain, or several joined by commas; `none` trains on all"
    )
    split_seed: Seed = _setting("data", "draws train, val and test where no official lists say them", 0)
    sampling: str = _setting("data", "batches from all sources pooled, or equal parts", "pooled")
    augmentation: str | None = _setting("data", "of training images: pacs, domainnet, digits or none")
    square: bool | None = _setting("data", "squash images to a square instead of cropping its centre")
    size: Annotated[int, Field(ge=1, le=4096)] | None = _setting("data", "side of the images in pixels")
    crop: Annotated[float, Field(gt=0, le=1)] | None = _setting(
        "data", "share of the shorter side (of both, if square) that evaluation sees; default: as for the weights"
    )
    mean: Annotated[Colour | None, BeforeValidator(three_numbers), AfterValidator(check_mean)] = _setting(
        "data", "of red, green and blue in [0, 1], which is subtracted; default: as for the weights"
    )
    std: Annotated[Colour | None, BeforeValidator(three_numbers), AfterValidator(check_std)] = _setting(
        "data", "of red, green and blue in [0, 1], by which is divided; default: as for the weights"
    )
    interpolation: Literal["bilinear", "bicubic"] | None = _setting(
        "data", "how images are resized: bilinear or bicubic; default: as for the weights"
    )
    resizing: Literal["once", "released-code"] = _setting(
        "data",
        "once, from the original; or as the released code's DomainNet: squashed to --size first, then enlarged",
        "once",
    )
    value_range: Annotated[str, BeforeValidator(as_range)] | None = _setting(
        "data", "black and white of images deeper than 8 bits: LOW,HIGH, or dataset, the sources' own range"
    )
    workers: Annotated[int, Field(ge=0)] | None = _setting("data", "processes that read images; default by cores")
    verify: bool = _setting("data", "decode every image once before a dataset's first training", True)
    skip_bad: bool = _setting("data", "leave out images that cannot be read, instead of refusing to train", False)

    method: dict[str, Any] = _setting("method", "a name from `dmg methods`", {"name": "dmg"})
    plugin: Annotated[tuple[str, ...], BeforeValidator(as_list)] = _setting(
        "method", "a file.py or a module with methods of one's own, imported first; can be given several times", ()
    )

    backbone: str | None = _setting("network", "a name of torchvision's, timm:NAME, or small")
    weights: Place | None = _setting("network", "imagenet, none, or a .safetensors or .pth file")
    sites: Annotated[tuple[str, ...], BeforeValidator(as_list)] = _setting(
        "network", "masked inputs: a preset (paper, last-stage, released-code, last-block) or names of modules", ()
    )
    boundary: str | None = _setting("network", "module where the task network begins; default: the first site")
    head_initialisation: Literal["default", "normal"] | None = _setting(
        "network", "of the last layer: PyTorch's default, or N(0, 0.001)"
    )
    freeze_features: bool = _setting("network", "train the task network alone, on features computed once", False)
    views: Count = _setting("network", "augmented views per image that frozen features keep", 4)

    init_from: Folder | None = _setting("training", "a run folder whose trained network and masks are started from")
    learn: Literal["all", "masks"] = _setting(
        "training", "all, or masks alone: with --init_from, those of new source domains, if there are any", "all"
    )
    class_weights: Literal["none", "balanced"] = _setting(
        "training", "weight of a class in the loss: none, or balanced, by the inverse of its training images", "none"
    )
    epochs: Count | None = _setting("training", "passes over the training images")
    batch: Count | Literal["auto"] = _setting(
        "training", "images per step, over all processes; auto: as many as fit, see the documentation", DEFAULT_BATCH
    )
    optimizer: Literal["adam", "sgd"] = _setting("training", "adam or sgd", "adam")
    lr: Rate | None = _setting("training", "learning rate")
    lr_head: Rate | None = _setting("training", "learning rate of the last layer; default --lr")
    lr_masks: Rate | None = _setting("training", "learning rate of the mask logits; default --lr")
    momentum: Annotated[float, Field(ge=0, lt=1)] = _setting("training", "of sgd", 0.9)
    weight_decay: NotNegative | None = _setting("training", "weight decay (L2)")
    schedule: str | None = _setting(
        "training", "constant; exponential (x decay); inverse, 1/(1 + gamma t)^power; cosine"
    )
    schedule_masks: str = _setting(
        "training",
        "schedule of the mask logits: same as the network's, or one of its own, with the same unit and numbers",
        "same",
    )
    schedule_unit: Literal["epoch", "step"] = _setting("training", "what the schedule counts", "epoch")
    schedule_decay: Annotated[float, Field(gt=0, le=1)] = _setting(
        "training", "factor of the exponential schedule", 0.99
    )
    schedule_gamma: NotNegative = _setting("training", "gamma of the inverse schedule", 1e-4)
    schedule_power: NotNegative = _setting("training", "power of the inverse schedule", 0.75)
    clip: Rate | None = _setting("training", "largest norm of the gradient")
    accumulate: Count = _setting("training", "batches per step of the optimiser", 1)
    average: Literal["none", "ema", "swa", "swad"] = _setting(
        "training", "weights averaged over the steps, which the model is made of: none, ema, swa or swad", "none"
    )
    average_decay: Annotated[float, Field(ge=0, lt=1)] | None = _setting(
        "training", "of ema: weight of the average before; default: 1 - 10 / steps, from 0.5 to 0.999"
    )
    average_start: Annotated[float, Field(ge=0, lt=1)] = _setting(
        "training", "of swa: share of the steps after which averaging begins", 0.5
    )
    average_interval: Count | None = _setting(
        "training", "of swad: steps between two looks at the validation loss; default: a fiftieth of all"
    )
    average_patience: Count = _setting(
        "training", "of swad: losses in a row of which the first is lowest, where averaging begins", 3
    )
    average_overfit_patience: Count = _setting(
        "training", "of swad: losses in a row that are above the tolerance, where averaging ends", 6
    )
    average_tolerance: Annotated[float, Field(ge=1, allow_inf_nan=False)] = _setting(
        "training", "of swad: times the loss at the beginning, above which averaging ends", 1.3
    )
    patience: Count | None = _setting("training", "stop after so many epochs without a better one")
    max_time: Annotated[Rate | None, BeforeValidator(as_seconds)] = _setting(
        "training", "stop after the epoch in which this is over: 90s, 30m, 2h"
    )
    checkpoint_every: Annotated[Rate, BeforeValidator(as_seconds)] = _setting(
        "training", "time between two checkpoints within an epoch: 90s, 10m, 1h", 600.0
    )
    fast: bool = _setting("training", "smoke run: one epoch of two batches, few images evaluated", False)
    selection: Literal["source-validation"] = _setting(
        "training", "what chooses the best epoch: accuracy on the sources' validation images", "source-validation"
    )
    domain_classifier: bool = _setting(
        "training", "fit a classifier of the source domains at the end, for the ensemble `weighted`", True
    )
    seed: Seed = _setting("training", "of initialisation, order, augmentation and masks", 0)

    device: Literal["auto", "cpu", "cuda"] = _setting("machine", "where to compute", "auto")
    devices: Count = _setting("machine", "processes, one per device", 1)
    threads: Count | None = _setting("machine", "of each process; default PyTorch's, or as the run that goes on had")
    precision: Literal["32", "bf16", "16"] = _setting("machine", "of the forward pass", "32")
    deterministic: bool = _setting("machine", "only operations that repeat bit for bit on the same device", False)
    compile: bool = _setting("machine", "compile the network (torch.compile)", False)
    channels_last: bool = _setting("machine", "memory layout that suits convolutions", False)

    @field_validator(*CHOICES)
    @classmethod
    def _one_of(cls, value: Any, info: ValidationInfo) -> Any:
        names = list(CHOICES[info.field_name or ""]())
        if value is not None and value not in names:
            listed = f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"
            raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": listed})
        return value

    @field_validator("method", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("method")
    @classmethod
    def _has_name(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("name"), str):
            raise ValueError("expected the name of a method, as in `method: {name: dmg, overlap_weight: 0.1}`")
        return value

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @property
    def method_name(self) -> str:
        """The method's name."""
        return str(self.method["name"])

    @property
    def method_settings(self) -> dict[str, Any]:
        """The method's settings that differ from its defaults, as given."""
        return {name: value for name, value in self.method.items() if name != "name"}

    @property
    def value_bounds(self) -> tuple[float, float] | None:
        """Black and white of deep images; None where the files' types say it, or the dataset has not been looked at yet."""
        return bounds_of(self.value_range)

    @property
    def batch_size(self) -> int:
        """Images per step; the default where ``auto`` has not been decided, for what does not depend on it."""
        return DEFAULT_BATCH if self.batch == AUTO else int(self.batch)

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain values, as YAML holds them."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return all settings as YAML, from which the run can be repeated."""
        return to_yaml({"schema": SCHEMA, **self.to_dict()})

    def write(self, path: Path) -> None:
        """Write ``config.yaml``, whole or not at all."""
        write_whole(path, self.to_yaml())


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """Check settings from flags or YAML; texts are converted to the types that are expected.

    Raises InputError that lists every mistake, each with what was expected, and the nearest name for an unknown one.
    """
    config, mistakes = check_values(values)
    if config is None:
        raise combine_errors(mistakes)
    return config


def check_values(values: Mapping[str, Any], others: Sequence[str] = ()) -> tuple[RunConfig | None, list[str]]:
    """Return the settings of a run, or None and a line per mistake; names that other folders know are not looked up.

    ``others`` are names that could have been meant besides those of a run.
    """
    named, mistakes = canonical(values, RunConfig.model_fields)
    try:
        config = RunConfig.model_validate(named)
    except ValidationError as error:
        return None, mistakes + describe_mistakes(error, [*RunConfig.model_fields, *others])
    return (config, []) if not mistakes else (None, mistakes)


def read_settings(path: Path, known: Collection[str] = RunConfig.model_fields) -> dict[str, Any]:
    """Read a YAML of settings that somebody has written: as :func:`read_config`, each under its own name.

    - ``known``: the settings that there are

    Raises InputError, too, where a setting is given in two spellings.
    """
    values, mistakes = canonical(read_config(path), known)
    if mistakes:
        raise InputError(f"configuration {str(path)!r}: {'; '.join(mistakes)}")
    return values


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML of settings, unchecked; an empty file gives none.

    Raises InputError where it is missing or no YAML mapping, RunFolderError for a newer schema.
    """
    values = read_yaml(path)
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        got = f"a {type(values).__name__}"
        if isinstance(values, dict):
            got = f"the name {next(name for name in values if not isinstance(name, str))!r}"
        raise InputError(f"configuration {str(path)!r}: expected settings as `name: value`, got {got}")
    check_schema(values.pop("schema", SCHEMA), SCHEMA, path)
    return values
