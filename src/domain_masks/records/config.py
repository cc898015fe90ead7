"""The complete settings of one run: the content of ``config.yaml`` and the flags of ``dmg train``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
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
from domain_masks.records.recipes import PAPER, RECIPES
from domain_masks.records.setting_types import (
    Colour,
    Count,
    DatasetPlace,
    Device,
    Folder,
    Metavar,
    NotNegative,
    OneOf,
    Place,
    Rate,
    Seconds,
    Seed,
    Workers,
    as_list,
    as_names,
    as_range,
    augmentation_name,
    bounds_of,
    check_mean,
    check_std,
    none_alone,
    setting,
    three_numbers,
)
from domain_masks.records.spellings import canonical
from domain_masks.records.validation import describe_mistakes
from domain_masks.sampling import SAMPLING
from domain_masks.schedules import SCHEDULES

SCHEMA = 1
AUTO = "auto"
DEFAULT_BATCH = 64
NOT_COMPUTED = frozenset(
    {
        "workers",
        "cache",
        "device",
        "devices",
        "threads",
        "checkpoint_every",
        "logger",
        "verify",
        "domain_classifier",
        "calibrate",
        "dataset",
        "root",
        "plugin",
        "recipe",
    }
)
"""Settings that do not decide what a run learns; contents of images and plugins, and a recipe's settings, are compared."""

BY_DATASET = "by dataset, shown by --print_config"
BY_WEIGHTS = "as the weights need it"


_data, _model, _method = (partial(setting, group=name) for name in ("data", "model", "method"))
_optimisation, _hardware, _output = (partial(setting, group=name) for name in ("optimisation", "hardware", "output"))


class RunConfig(BaseModel):
    """Everything that decides what a run computes; a setting that is None takes the dataset's default.

    Raises InputError through :func:`parse_config`, which lists all mistakes at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: DatasetPlace = _data(
        "a name from `dmg data list`, a folder domain/class/image, a manifest, or hf:NAME", "digits"
    )
    root: Folder | None = _data(
        "the dataset's folder or its parent; of a manifest, the folder that its paths are relative to",
        None,
        otherwise="$DMG_DATA",
    )
    target: Annotated[tuple[str, ...] | None, BeforeValidator(as_names)] = _data(
        "held-out domain, or several joined by commas; `none` trains on all domains",
        None,
        metavar="DOMAIN[,DOMAIN]",
        several=False,
    )
    split_seed: Seed = _data("seed of what is drawn for train/val/test splits that the dataset does not bring", 0)
    in_domain_test: Literal["official", "validation-half"] = _data(
        "in-domain test images: the dataset's own; or, where it has none, half of its validation images, drawn by split_seed, "
        "while the other half selects the epoch",
        "official",
    )
    sampling: Annotated[str, OneOf(lambda: SAMPLING)] = _data(
        "batches from all sources pooled, or with equal parts of every source", "pooled"
    )
    augmentation: Annotated[str, BeforeValidator(augmentation_name)] | None = _data(
        "augmentation of training images: standard, pacs, digits or none", None, metavar="NAME", otherwise=BY_DATASET
    )
    auto_augment: Literal["none", "randaugment", "trivialaugment"] = _data(
        "further random changes of training images, by torchvision's policy of that name", "none"
    )
    random_erasing: Annotated[float, Field(ge=0, le=1)] = _data(
        "probability that a rectangle of a training image is erased", 0.0
    )
    square: bool | None = _data("squash images to a square instead of cropping the centre", None)
    size: Annotated[int, Field(ge=1, le=4096), Metavar("PX")] | None = _data(
        "side of the input images in pixels", None, otherwise=BY_DATASET
    )
    crop: Annotated[float, Field(gt=0, le=1)] | None = _data(
        "fraction of the shorter side (of both sides, with --square) that evaluation sees", None, otherwise=BY_WEIGHTS
    )
    mean: Annotated[Colour | None, BeforeValidator(three_numbers), AfterValidator(check_mean)] = _data(
        "mean of red, green and blue in [0, 1], subtracted from images", None, otherwise=BY_WEIGHTS
    )
    std: Annotated[Colour | None, BeforeValidator(three_numbers), AfterValidator(check_std)] = _data(
        "standard deviation of red, green and blue in [0, 1], by which images are divided", None, otherwise=BY_WEIGHTS
    )
    interpolation: Literal["bilinear", "bicubic"] | None = _data("how images are resized", None, otherwise=BY_WEIGHTS)
    resizing: Literal["once", "released-code"] = _data(
        "resize once, from the original; or as the released code does for DomainNet: squash to --size, then enlarge",
        "once",
    )
    value_range: Annotated[str, BeforeValidator(as_range), Metavar("LOW,HIGH|dataset")] | None = _data(
        "black and white level of images deeper than 8 bits; dataset: the sources' own range", None
    )
    workers: Workers | None = _hardware("processes that load images", None, otherwise="by CPU cores")
    cache: Literal["none", "disk", "memory", "device"] = _hardware(
        "decode images once for all epochs: on disk, also for later runs; in memory; on disk and on the device", "none"
    )
    verify: bool = _data("decode every image once before a dataset's first training", True)
    skip_bad: bool = _data("leave out unreadable images instead of refusing to train", False)

    method: Annotated[MethodChoice, BeforeValidator(MethodChoice.read), PlainSerializer(MethodChoice.to_dict)] = (
        setting("a name from `dmg methods`", MethodChoice("dmg"), group="method", metavar="NAME", otherwise="dmg")
    )
    plugin: Annotated[tuple[str, ...], BeforeValidator(as_list)] = _method(
        "a Python file or module with your own method, imported first; may be repeated", ()
    )

    backbone: str | None = _model("a torchvision name, timm:NAME, or small", None, metavar="NAME", otherwise=BY_DATASET)
    weights: Annotated[Place, Metavar("imagenet|none|FILE", "file")] | None = _model(
        "pretrained weights: imagenet, none, or a .safetensors or .pth file", None, otherwise=BY_DATASET
    )
    sites: Annotated[tuple[str, ...], BeforeValidator(as_list)] = _model(
        "mask sites: a preset (paper, last-stage, released-code, last-block) or module names", ()
    )
    boundary: str | None = _model(
        "module where the task network begins", None, metavar="NAME", otherwise="the first mask site"
    )
    head_initialisation: Literal["default", "normal"] | None = _model(
        "initialisation of the last layer: PyTorch's default, or normal with standard deviation 0.001",
        None,
        otherwise=BY_DATASET,
    )
    freeze_features: bool = _model("train the task network alone, on features that are computed once", False)
    views: Count = _model("augmented views per image that are cached as frozen features", 4)

    freeze_epochs: Annotated[int, Field(ge=0)] = _model(
        "freeze the layers below --boundary, their batch norm too, for the first epochs; then train all layers", 0
    )
    unfreeze_every: Annotated[int, Field(ge=0)] = _model(
        "after --freeze_epochs, train one more layer below --boundary every so many epochs, from the last to the first; "
        "0: all at once",
        0,
    )

    init_from: Annotated[Folder, Metavar("RUN", "folder")] | None = _model(
        "run folder whose trained network and masks initialise this run", None
    )
    learn: Literal["all", "masks"] = _model(
        "train all parameters, or the masks alone: with --init_from, those of new source domains, if there are any",
        "all",
    )
    recipe: Annotated[str, OneOf(lambda: RECIPES)] = _optimisation(
        "named settings that count where nothing else is given; paper: the paper's, which are the defaults; short: for some "
        "ten epochs, an average of the weights",
        PAPER,
    )
    class_weights: Literal["none", "balanced"] = _optimisation(
        "class weights in the loss; balanced: inverse to the number of training images", "none"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = _optimisation(
        "share of the labels that is spread over all classes in the loss", 0.0
    )
    epochs: Count | None = _optimisation("passes over the training images", None, otherwise=BY_DATASET)
    batch: Count | Literal["auto"] = _optimisation(
        "batch size over all processes; auto: as many images as fit into memory", DEFAULT_BATCH
    )
    optimizer: Literal["adam", "sgd", "adamw"] = _optimisation("optimizer", "adam")
    lr: Rate | Literal["auto"] | None = _optimisation(
        "learning rate; auto: found by a range test before the training", None, otherwise=BY_DATASET
    )
    lr_head: Rate | None = _optimisation("learning rate of the last layer", None, otherwise="--lr")
    lr_masks: Rate | None = _optimisation("learning rate of the mask logits", None, otherwise="--lr")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = _optimisation(
        "factor of the learning rate from each layer or block to the one below it", 1.0
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = _optimisation("momentum of sgd", 0.9)
    weight_decay: NotNegative | None = _optimisation("weight decay: L2, or adamw's own", None, otherwise=BY_DATASET)
    schedule: Annotated[str, OneOf(lambda: SCHEDULES)] | None = _optimisation(
        "learning rate schedule: constant; exponential (times decay); inverse, 1/(1 + gamma t)^power; cosine",
        None,
        otherwise=BY_DATASET,
    )
    schedule_masks: Annotated[str, OneOf(lambda: ("same", *SCHEDULES))] = _optimisation(
        "schedule of the mask logits: the same, or another one with the same unit and numbers", "same"
    )
    schedule_unit: Literal["epoch", "step"] = _optimisation("what the schedule counts", "epoch")
    schedule_decay: Annotated[float, Field(gt=0, le=1)] = _optimisation("factor of the exponential schedule", 0.99)
    schedule_gamma: NotNegative = _optimisation("gamma of the inverse schedule", 1e-4)
    schedule_power: NotNegative = _optimisation("power of the inverse schedule", 0.75)
    warmup_epochs: Annotated[int, Field(ge=0)] = _optimisation(
        "epochs in which the learning rate rises linearly from 0, step by step; the schedule follows on them", 0
    )
    clip: Rate | None = _optimisation("largest norm of the gradient", None)
    accumulate: Count = _optimisation("batches per optimizer step (gradient accumulation)", 1)
    average: Literal["none", "ema", "swa", "swad"] = _optimisation(
        "average the weights over the steps; the model has the averaged weights", "none"
    )
    average_decay: Annotated[float, Field(ge=0, lt=1)] | None = _optimisation(
        "decay of ema", None, otherwise="1 - 10 / steps, within 0.5 and 0.999"
    )
    average_start: Annotated[float, Field(ge=0, lt=1)] = _optimisation(
        "fraction of the steps after which swa starts to average", 0.5
    )
    average_interval: Count | None = _optimisation(
        "steps between two evaluations of the validation loss by swad", None, otherwise="a fiftieth of all steps"
    )
    average_patience: Count = _optimisation(
        "swad starts to average at the first of so many losses in a row of which none is lower", 3
    )
    average_overfit_patience: Count = _optimisation("swad ends after so many losses in a row above its tolerance", 6)
    average_tolerance: Annotated[float, Field(ge=1, allow_inf_nan=False)] = _optimisation(
        "tolerance of swad, as a multiple of the loss where averaging started", 1.3
    )
    recalibrate_bn: bool = _optimisation(
        "before measuring, estimate batch norm's statistics in the upper layers again, under soft masks as predictions do",
        False,
    )
    patience: Count | None = _optimisation("early stopping: end after so many epochs without improvement", None)
    max_time: Seconds | None = _optimisation("stop after the epoch that exceeds this time: 90s, 30m, 2h", None)
    checkpoint_every: Seconds = _output("time between two checkpoints within an epoch: 90s, 10m, 1h", 600.0)
    logger: Annotated[
        tuple[Literal["tensorboard", "wandb", "mlflow", "none"], ...],
        BeforeValidator(as_names),
        AfterValidator(none_alone),
    ] = _output(
        "where metrics are logged besides the run folder's own files", ("tensorboard",), otherwise="tensorboard"
    )
    fast: bool = _optimisation("smoke test: one epoch of two batches, evaluated on a few images", False)
    selection: Literal["source-validation"] = _optimisation(
        "what selects the best epoch: accuracy on the sources' validation images", "source-validation"
    )
    domain_classifier: bool = _model(
        "fit a classifier of the source domains at the end, for the ensemble `weighted`", True
    )
    calibrate: bool = _model(
        "fit a temperature of the probabilities on the sources' validation images at the end; no predicted class changes",
        False,
    )
    seed: Seed = _optimisation("seed of initialisation, data order, augmentation and mask sampling", 0)

    device: Device = _hardware("where to compute", "auto")
    devices: Count = _hardware("number of processes, one per device", 1)
    threads: Count | None = _hardware(
        "CPU threads per process", None, otherwise="PyTorch's, or those of the run that is resumed"
    )
    precision: Literal["32", "bf16", "16", "auto"] = _hardware(
        "precision of the forward pass; auto: bf16 where the device computes in it, but for the network small", "32"
    )
    deterministic: bool = _hardware("use only operations that are bitwise reproducible on the same device", False)
    compile: bool = _hardware("compile the network with torch.compile", False)
    channels_last: bool | Literal["auto"] = _hardware(
        "use the channels-last memory layout; auto: for networks of convolutions", False
    )

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @property
    def method_name(self) -> str:
        """The method's name."""
        return self.method.name

    @property
    def learning_rate(self) -> float | None:
        """The learning rate; None where it is not given, or ``auto`` is not resolved yet."""
        return None if self.lr is None or isinstance(self.lr, str) else self.lr

    @property
    def value_bounds(self) -> tuple[float, float] | None:
        """Black and white level of deep images; None where the file type decides, or the range is not determined yet."""
        return bounds_of(self.value_range)

    @property
    def batch_size(self) -> int:
        """Images per step; the default where ``auto`` is not resolved yet, for uses that do not depend on it."""
        return DEFAULT_BATCH if self.batch == AUTO else int(self.batch)

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain values, as YAML holds them."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return all settings as YAML, from which the run can be repeated."""
        from domain_masks.records.yaml_files import to_yaml  # noqa: PLC0415 - not needed for help and lists

        return to_yaml({"schema": SCHEMA, **self.to_dict()})

    def write(self, path: Path) -> None:
        """Write ``config.yaml``, whole or not at all."""
        write_whole(path, self.to_yaml())


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """Check settings from flags or YAML; texts are converted to the expected types.

    Raises InputError that lists every mistake with the expected value, and the nearest name for an unknown one.
    """
    config, mistakes = check_values(values)
    if config is None:
        raise combine_errors(mistakes)
    return config


def check_values(values: Mapping[str, Any], others: Sequence[str] = ()) -> tuple[RunConfig | None, list[str]]:
    """Return the settings of a run, or None and a line per mistake; names of datasets, methods and backbones are not checked.

    ``others`` are further names that an unknown setting may be a misspelling of.
    """
    named, mistakes = canonical(values, RunConfig.model_fields)
    try:
        config = RunConfig.model_validate(named)
    except ValidationError as error:
        return None, mistakes + describe_mistakes(error, [*RunConfig.model_fields, *others])
    return (config, []) if not mistakes else (None, mistakes)


def read_settings(path: Path, known: Collection[str] = RunConfig.model_fields) -> dict[str, Any]:
    """Read a YAML of settings written by a user: as :func:`read_config`, with synonyms replaced by the settings' own names.

    - ``known``: the names of all settings

    Also raises InputError where a setting is given in two spellings.
    """
    values, mistakes = canonical(read_config(path), known)
    if mistakes:
        raise InputError(f"configuration {str(path)!r}: {'; '.join(mistakes)}")
    return values


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML of settings, unchecked; an empty file gives none.

    Raises InputError where it is missing or no YAML mapping, RunFolderError for a newer schema.
    """
    from domain_masks.records.yaml_files import read_yaml  # noqa: PLC0415

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
