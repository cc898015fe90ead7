"""The values that the settings of a run and a method must have to be comparable with the paper's numbers.

Every setting is listed here once (a test fails if one is missing): it has a required value, or it cannot affect the result, or
:mod:`.paper_protocol` checks it together with others. If the paper does not specify a setting, the authors' released code
decides, which the defaults follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain_masks.records.paper_defaults import paper_defaults
from domain_masks.records.preparation import IMAGENET_MEAN, IMAGENET_STD

DOMAINS: Mapping[str, tuple[str, ...]] = {
    "pacs": ("art_painting", "cartoon", "photo", "sketch"),
    "domainnet": ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
}
"""Dataset -> its domains, each of which the paper holds out in turn."""
BACKBONES = ("alexnet", "resnet18", "resnet50")
PAPER_SITES: Mapping[str, tuple[str, ...]] = {
    "alexnet": ("classifier.1", "classifier.4", "classifier.6"),
    "resnet18": ("layer4.1", "fc"),
    "resnet50": ("layer4.2", "fc"),
}
"""Backbone -> the mask sites of Section 4.1, as in the preset ``paper``."""


@dataclass(frozen=True, init=False)
class Fixed:
    """A setting that must have one of these equivalent values; the first is shown as the paper's."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, init=False)
class Later(Fixed):
    """A fixed setting that older versions lacked; they behaved as with its first value."""


@dataclass(frozen=True)
class ByDataset:
    """A setting that the paper fixes per dataset; it has no effect on datasets that are not listed."""

    values: Mapping[str, Fixed]


@dataclass(frozen=True)
class Free:
    """A setting that cannot affect the result, and why."""

    why: str


@dataclass(frozen=True)
class Together:
    """A setting that is checked together with others, and where."""

    where: str


Classified = Fixed | ByDataset | Free | Together

_PLACE = Free("locates files, or sets the number of workers")
_DRAWN = Free("seeds what is random in the paper")
_LAST_BITS = Free("only changes the order of floating-point operations")
_FIRST_COLUMN = Together("dataset, backbone, method and held-out domain choose the paper's number")


def _as_default(setting: str) -> Fixed | ByDataset:
    """Return the paper's value of a setting, which is the default on its datasets.

    A value that is the same for all of them is required on other datasets, too.
    """
    values = {dataset: paper_defaults(dataset)[setting] for dataset in DOMAINS}
    if len(set(values.values())) == 1:
        return Fixed(*set(values.values()))
    return ByDataset({dataset: Fixed(value) for dataset, value in values.items()})


SETTINGS: Mapping[str, Classified] = {
    "dataset": _FIRST_COLUMN,
    "root": _PLACE,
    "target": _FIRST_COLUMN,
    "split_seed": _DRAWN,
    # The paper selects by the whole validation lists.
    "in_domain_test": Later("official"),
    "sampling": Fixed("pooled"),
    "augmentation": ByDataset({"pacs": Fixed("pacs"), "domainnet": Fixed("standard")}),
    "auto_augment": Later("none"),
    "random_erasing": Later(0.0),
    # None in an incomplete config is the dataset's default.
    "square": Fixed(True, None),
    "size": Fixed(224),
    # The whole image, as required by torchvision's ImageNet weights of the three backbones.
    "crop": Fixed(1.0, None),
    "mean": Fixed(list(IMAGENET_MEAN), None),
    "std": Fixed(list(IMAGENET_STD), None),
    "interpolation": Fixed("bilinear", None),
    # Not specified in the paper; the authors' DomainNet used the second.
    "resizing": ByDataset({"pacs": Later("once"), "domainnet": Later("once", "released-code")}),
    "value_range": Later(None),
    "workers": _PLACE,
    "cache": _PLACE,
    "verify": Free("checks the images before training without changing them"),
    "skip_bad": Fixed(False),
    "method": _FIRST_COLUMN,
    "plugin": Free("locates the code of a method, which is compared by its name"),
    "backbone": _FIRST_COLUMN,
    "weights": _as_default("weights"),
    "sites": Together("only for DMG, depending on the backbone"),
    # Dropout before the boundary belongs to F, where it stays active while masks are learned.
    "boundary": Fixed(None),
    "head_initialisation": _as_default("head_initialisation"),
    "freeze_features": Fixed(False),
    "views": Free("only affects frozen features, which are a difference themselves"),
    "freeze_epochs": Later(0),
    "unfreeze_every": Free("only affects frozen epochs, which are a difference themselves"),
    "init_from": Fixed(None),
    "learn": Fixed("all"),
    "recipe": Free("names settings, which are compared themselves"),
    "class_weights": Fixed("none"),
    "label_smoothing": Later(0.0),
    "epochs": _as_default("epochs"),
    "batch": Fixed(64),
    "optimizer": Together("Adam, except for Aggregate-SGD"),
    # With SGD, too: the paper gives no other rate, momentum or schedule for Aggregate-SGD.
    "lr": _as_default("lr"),
    "lr_head": Fixed(None, 1e-4),
    "lr_masks": Fixed(None, 1e-4),
    "layer_decay": Later(1.0),
    "momentum": Together("only for SGD"),
    "weight_decay": _as_default("weight_decay"),
    "schedule": _as_default("schedule"),
    "schedule_masks": ByDataset({"pacs": Later("same", "exponential"), "domainnet": Later("same", "inverse")}),
    "schedule_unit": Fixed("epoch"),
    "schedule_decay": ByDataset({"pacs": Fixed(0.99)}),
    "schedule_gamma": ByDataset({"domainnet": Fixed(1e-4)}),
    "schedule_power": ByDataset({"domainnet": Fixed(0.75)}),
    "warmup_epochs": Later(0),
    "clip": Fixed(None),
    "accumulate": Fixed(1),
    "average": Later("none"),
    **dict.fromkeys(
        (
            "average_decay",
            "average_start",
            "average_interval",
            "average_patience",
            "average_overfit_patience",
            "average_tolerance",
        ),
        Free("only affects averaged weights, which are a difference themselves"),
    ),
    "recalibrate_bn": Later(False),
    "patience": Fixed(None),
    "max_time": Fixed(None),
    "checkpoint_every": _PLACE,
    "logger": _PLACE,
    "fast": Fixed(False),
    "selection": Fixed("source-validation"),
    "domain_classifier": Free("only affects the ensemble `weighted`, for which the paper has no number"),
    "calibrate": Free("scales probabilities without changing a predicted class"),
    "seed": _DRAWN,
    "device": _LAST_BITS,
    "devices": Free("`batch` is the global batch size of all processes"),
    "threads": _LAST_BITS,
    "precision": Fixed("32", 32),
    "deterministic": _LAST_BITS,
    "compile": _LAST_BITS,
    "channels_last": _LAST_BITS,
}
"""Setting of a run -> its requirement."""

MOMENTUM = Fixed(0.9)
"""Of Aggregate-SGD; not specified in the paper, this is the value in ``configs/paper``."""

METHOD_SETTINGS: Mapping[str, Mapping[str, Classified]] = {
    "dmg": {
        "overlap_weight": Fixed(0.1),
        "overlap_reduction": Fixed("sum"),
        "overlap_epsilon": Fixed(0.0),
        "sparsity_weight": Fixed(0.0),
        "classification_reduction": Fixed("mean"),
        "initialisation": Fixed("uniform"),
        "dropout": Fixed(False),
        "average": Fixed("logits"),
        "validation": Fixed("predictions"),
        "masks": Later("learned"),
        "batch_norm": Later("learned"),
    },
    "aggregate": {"head_first": Later(0.0), "batch_norm": Later("learned")},
    "multi_headed": {"average": Fixed("logits"), "validation": Later("predictions"), "batch_norm": Later("learned")},
}
"""Method -> its own settings -> their requirements, for the methods that the paper trained itself."""

QUOTED = frozenset(
    {
        *(
            "metareg",
            "mldg",
            "maml",
            "masf",
            "epi_fcr",
            "crossgrad",
            "dann",
            "dsn",
            "fusion",
            "d_mtae",
            "tf_cnn",
            "dica",
        ),
    }
)
"""Methods whose numbers the paper quotes from their own papers, with other splits, training, selection and code."""
OF_TRAINING = frozenset(
    {
        *(
            "sampling",
            "augmentation",
            "auto_augment",
            "random_erasing",
            "label_smoothing",
            "boundary",
            "head_initialisation",
            "epochs",
            "batch",
            "lr",
            "lr_head",
            "layer_decay",
            "freeze_epochs",
            "weight_decay",
        ),
        *("schedule", "schedule_unit", "schedule_decay", "schedule_gamma", "schedule_power", "warmup_epochs", "clip"),
    }
)
"""Settings of the training, which for a quoted method was done as in its own paper."""

IN_WORDS: Mapping[str, Mapping[Any, str]] = {
    "freeze_features": {False: "the whole network trained", True: "features frozen, only the task network trained"},
    "weights": {"imagenet": "torchvision's of ImageNet", "none": "none"},
    "fast": {True: "a smoke run", False: "full runs"},
    "sites": {"paper": "last block and classifier (preset paper)"},
    "lr_head": {None: "as lr"},
    "lr_masks": {None: "as lr"},
    "schedule_masks": {"same": "as schedule"},
    "boundary": {None: "the first mask site"},
    "square": {True: "squashed to a square", False: "the centre is cut out"},
}
"""Setting -> value -> its description in a difference."""
