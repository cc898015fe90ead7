"""The settings of one run, complete: what ``config.yaml`` holds and what the flags of ``dmg train`` set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
)

from domain_masks.errors import InputError, combine_errors
from domain_masks.records.files import check_schema, write_whole
from domain_masks.records.method_choice import MethodChoice
from domain_masks.records.setting_types import (
    Colour,
    Count,
    DatasetPlace,
    Device,
    Folder,
    NotNegative,
    OneOf,
    Place,
    Rate,
    Seconds,
    Seed,
    Shown,
    Workers,
    as_list,
    as_names,
    as_range,
    augmentation_name,
    bounds_of,
    check_mean,
    check_std,
    setting,
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

BY_DATASET = "by dataset, shown by --print_config"
BY_WEIGHTS = "as the weights need it"


class RunConfig(BaseModel):
    """Everything that decides what a run computes; a setting that is None takes the dataset's default.

    Raises InputError through :func:`parse_config`, which lists all mistakes at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: DatasetPlace = setting(
        "a name from `dmg data list`, a folder domain/class/image, a manifest, or hf:NAME", "digits", group="data"
    )
    root: Folder | None = setting(
        "the dataset's folder or its parent; of a manifest, the folder that its paths are relative to",
        None,
        group="data",
        otherwise="$DMG_DATA",
    )
    target: Annotated[tuple[str, ...] | None, BeforeValidator(as_names)] = setting(
        "held-out domain, or several joined by commas; `none` trains on all domains",
        None,
        group="data",
        metavar="DOMAIN[,DOMAIN]",
        several=False,
    )
    split_seed: Seed = setting("seed of the train/val/test split of datasets without official lists", 0, group="data")
    sampling: Annotated[str, OneOf(lambda: SAMPLING)] = setting(
        "batches from all sources pooled, or with equal parts of every source", "pooled", group="data"
    )
    augmentation: Annotated[str, BeforeValidator(augmentation_name)] | None = setting(
        "augmentation of training images: standard, pacs, digits or none",
        None,
        group="data",
        metavar="NAME",
        otherwise=BY_DATASET,
    )
    square: bool | None = setting("squash images to a square instead of cropping the centre", None, group="data")
    size: Annotated[int, Field(ge=1, le=4096), Shown("PX")] | None = setting(
        "side of the input images in pixels", None, group="data", otherwise=BY_DATASET
    )
    crop: Annotated[float, Field(gt=0, le=1)] | None = setting(
        "fraction of the shorter side (of both sides, with --square) that evaluation sees",
        None,
        group="data",
        otherwise=BY_WEIGHTS,
    )
    mean: Annotated[Colour | None, BeforeValidator(three_numbers), AfterValidator(check_mean)] = setting(
        "mean of red, green and blue in [0, 1], subtracted from images", None, group="data", otherwise=BY_WEIGHTS
    )
    std: Annotated[Colour | None, BeforeValidator(three_numbers), AfterValidator(check_std)] = setting(
        "standard deviation of red, green and blue in [0, 1], by which images are divided",
        None,
        group="data",
        otherwise=BY_WEIGHTS,
    )
    interpolation: Literal["bilinear", "bicubic"] | None = setting(
        "how images are resized", None, group="data", otherwise=BY_WEIGHTS
    )
    resizing: Literal["once", "released-code"] = setting(
        "resize once, from the original; or as the released code does for DomainNet: squash to --size, then enlarge",
        "once",
        group="data",
    )
    value_range: Annotated[str, BeforeValidator(as_range), Shown("LOW,HIGH|dataset")] | None = setting(
        "black and white level of images deeper than 8 bits; dataset: the sources' own range", None, group="data"
    )
    workers: Workers | None = setting("processes that load images", None, group="hardware", otherwise="by CPU cores")
    verify: bool = setting("decode every image once before a dataset's first training", True, group="data")
    skip_bad: bool = setting("leave out unreadable images instead of refusing to train", False, group="data")

    method: Annotated[MethodChoice, BeforeValidator(MethodChoice.read), PlainSerializer(MethodChoice.to_dict)] = (
        setting("a name from `dmg methods`", MethodChoice("dmg"), group="method", metavar="NAME", otherwise="dmg")
    )
    plugin: Annotated[tuple[str, ...], BeforeValidator(as_list)] = setting(
        "a Python file or module with your own method, imported first; may be repeated", (), group="method"
    )

    backbone: str | None = setting(
        "a torchvision name, timm:NAME, or small", None, group="model", metavar="NAME", otherwise=BY_DATASET
    )
    weights: Annotated[Place, Shown("imagenet|none|FILE", "file")] | None = setting(
        "pretrained weights: imagenet, none, or a .safetensors or .pth file", None, group="model", otherwise=BY_DATASET
    )
    sites: Annotated[tuple[str, ...], BeforeValidator(as_list)] = setting(
        "mask sites: a preset (paper, last-stage, released-code, last-block) or module names", (), group="model"
    )
    boundary: str | None = setting(
        "module where the task network begins", None, group="model", metavar="NAME", otherwise="the first mask site"
    )
    head_initialisation: Literal["default", "normal"] | None = setting(
        "initialisation of the last layer: PyTorch's default, or normal with standard deviation 0.001",
        None,
        group="model",
        otherwise=BY_DATASET,
    )
    freeze_features: bool = setting(
        "train the task network alone, on features that are computed once", False, group="model"
    )
    views: Count = setting("augmented views per image that are cached as frozen features", 4, group="model")

    init_from: Annotated[Folder, Shown("RUN", "folder")] | None = setting(
        "run folder whose trained network and masks initialise this run", None, group="model"
    )
    learn: Literal["all", "masks"] = setting(
        "train all parameters, or the masks alone: with --init_from, those of new source domains, if there are any",
        "all",
        group="model",
    )
    class_weights: Literal["none", "balanced"] = setting(
        "class weights in the loss; balanced: inverse to the number of training images", "none", group="optimisation"
    )
    epochs: Count | None = setting("passes over the training images", None, group="optimisation", otherwise=BY_DATASET)
    batch: Count | Literal["auto"] = setting(
        "batch size over all processes; auto: as many images as fit into memory", DEFAULT_BATCH, group="optimisation"
    )
    optimizer: Literal["adam", "sgd"] = setting("optimizer", "adam", group="optimisation")
    lr: Rate | None = setting("learning rate", None, group="optimisation", otherwise=BY_DATASET)
    lr_head: Rate | None = setting("learning rate of the last layer", None, group="optimisation", otherwise="--lr")
    lr_masks: Rate | None = setting("learning rate of the mask logits", None, group="optimisation", otherwise="--lr")
    momentum: Annotated[float, Field(ge=0, lt=1)] = setting("momentum of sgd", 0.9, group="optimisation")
    weight_decay: NotNegative | None = setting("weight decay (L2)", None, group="optimisation", otherwise=BY_DATASET)
    schedule: Annotated[str, OneOf(lambda: SCHEDULES)] | None = setting(
        "learning rate schedule: constant; exponential (times decay); inverse, 1/(1 + gamma t)^power; cosine",
        None,
        group="optimisation",
        otherwise=BY_DATASET,
    )
    schedule_masks: Annotated[str, OneOf(lambda: ("same", *SCHEDULES))] = setting(
        "schedule of the mask logits: the same, or another one with the same unit and numbers",
        "same",
        group="optimisation",
    )
    schedule_unit: Literal["epoch", "step"] = setting("what the schedule counts", "epoch", group="optimisation")
    schedule_decay: Annotated[float, Field(gt=0, le=1)] = setting(
        "factor of the exponential schedule", 0.99, group="optimisation"
    )
    schedule_gamma: NotNegative = setting("gamma of the inverse schedule", 1e-4, group="optimisation")
    schedule_power: NotNegative = setting("power of the inverse schedule", 0.75, group="optimisation")
    clip: Rate | None = setting("largest norm of the gradient", None, group="optimisation")
    accumulate: Count = setting("batches per optimizer step (gradient accumulation)", 1, group="optimisation")
    average: Literal["none", "ema", "swa", "swad"] = setting(
        "average the weights over the steps; the model has the averaged weights", "none", group="optimisation"
    )
    average_decay: Annotated[float, Field(ge=0, lt=1)] | None = setting(
        "decay of ema", None, group="optimisation", otherwise="1 - 10 / steps, within 0.5 and 0.999"
    )
    average_start: Annotated[float, Field(ge=0, lt=1)] = setting(
        "fraction of the steps after which swa begins to average", 0.5, group="optimisation"
    )
    average_interval: Count | None = setting(
        "steps between two evaluations of the validation loss by swad",
        None,
        group="optimisation",
        otherwise="a fiftieth of all steps",
    )
    average_patience: Count = setting(
        "swad begins to average at the first of so many losses in a row that none of them undercuts",
        3,
        group="optimisation",
    )
    average_overfit_patience: Count = setting(
        "swad ends after so many losses in a row above its tolerance", 6, group="optimisation"
    )
    average_tolerance: Annotated[float, Field(ge=1, allow_inf_nan=False)] = setting(
        "tolerance of swad, as a multiple of the loss where averaging began", 1.3, group="optimisation"
    )
    patience: Count | None = setting(
        "early stopping: end after so many epochs without improvement", None, group="optimisation"
    )
    max_time: Seconds | None = setting(
        "stop after the epoch that exceeds this time: 90s, 30m, 2h", None, group="optimisation"
    )
    checkpoint_every: Seconds = setting(
        "time between two checkpoints within an epoch: 90s, 10m, 1h", 600.0, group="output"
    )
    fast: bool = setting("smoke test: one epoch of two batches, evaluated on a few images", False, group="optimisation")
    selection: Literal["source-validation"] = setting(
        "what selects the best epoch: accuracy on the sources' validation images",
        "source-validation",
        group="optimisation",
    )
    domain_classifier: bool = setting(
        "fit a classifier of the source domains at the end, for the ensemble `weighted`", True, group="model"
    )
    seed: Seed = setting("seed of initialisation, data order, augmentation and mask sampling", 0, group="optimisation")

    device: Device = setting("where to compute", "auto", group="hardware")
    devices: Count = setting("number of processes, one per device", 1, group="hardware")
    threads: Count | None = setting(
        "CPU threads per process", None, group="hardware", otherwise="PyTorch's, or those of the run that is resumed"
    )
    precision: Literal["32", "bf16", "16"] = setting("precision of the forward pass", "32", group="hardware")
    deterministic: bool = setting(
        "use only operations that are bitwise reproducible on the same device", False, group="hardware"
    )
    compile: bool = setting("compile the network with torch.compile", False, group="hardware")
    channels_last: bool = setting("use the channels-last memory layout", False, group="hardware")

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @property
    def method_name(self) -> str:
        """The method's name."""
        return self.method.name

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
