"""Every setting of a run and of a method, and what it must be for the run to be comparable with the paper's number.

Each setting is named here once (a test fails for one that is not): it must be what the paper says, or it cannot change the
number, or it is looked at by :mod:`.paper_protocol` together with others. Where the paper is silent, the authors' released code
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
"""Dataset -> its domains, each of which the paper holds out by itself."""
BACKBONES = ("alexnet", "resnet18", "resnet50")
PAPER_SITES: Mapping[str, tuple[str, ...]] = {
    "alexnet": ("classifier.1", "classifier.4", "classifier.6"),
    "resnet18": ("layer4.1", "fc"),
    "resnet50": ("layer4.2", "fc"),
}
"""Backbone -> the masked inputs of Section 4.1, which the preset ``paper`` stands for."""


@dataclass(frozen=True, init=False)
class Fixed:
    """A setting that must be one of these values, all of which mean the same; the first is shown as the paper's."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, init=False)
class Later(Fixed):
    """The same of a setting that older versions did not have: they computed what its first value stands for."""


@dataclass(frozen=True)
class ByDataset:
    """A setting that the paper fixes for each dataset; a dataset that is not named leaves it without effect."""

    values: Mapping[str, Fixed]


@dataclass(frozen=True)
class Free:
    """A setting that cannot change the number, and why."""

    why: str


@dataclass(frozen=True)
class Together:
    """A setting that is looked at with others, and where."""

    where: str


Classified = Fixed | ByDataset | Free | Together

_PLACE = Free("says where something lies, or by how many it is read")
_DRAWN = Free("draws what the paper drew at random")
_LAST_BITS = Free("changes the order of sums, nothing else")
_FIRST_COLUMN = Together("dataset, backbone, method and held-out domain choose the paper's number")


def _as_default(setting: str) -> Fixed | ByDataset:
    """Return what the paper says of a setting, which is the default of runs on its datasets.

    What it says alike of them all is a difference of runs on other datasets, too.
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
    "sampling": Fixed("pooled"),
    "augmentation": ByDataset({"pacs": Fixed("pacs"), "domainnet": Fixed("standard")}),
    # None, in settings that were not completed, is the dataset's default.
    "square": Fixed(True, None),
    "size": Fixed(224),
    # Of the whole image, as torchvision's ImageNet weights of the three backbones ask for.
    "crop": Fixed(1.0, None),
    "mean": Fixed(list(IMAGENET_MEAN), None),
    "std": Fixed(list(IMAGENET_STD), None),
    "interpolation": Fixed("bilinear", None),
    # The paper says neither; the second is what the authors' DomainNet was.
    "resizing": ByDataset({"pacs": Later("once"), "domainnet": Later("once", "released-code")}),
    "value_range": Later(None),
    "workers": _PLACE,
    "verify": Free("looks at the images before training, and changes none"),
    "skip_bad": Fixed(False),
    "method": _FIRST_COLUMN,
    "plugin": Free("says where the code of a method lies, which is looked at by its name"),
    "backbone": _FIRST_COLUMN,
    "weights": _as_default("weights"),
    "sites": Together("of DMG alone, and by backbone"),
    # Dropout that is not directly before it is that of F, which stays on while masks are learned.
    "boundary": Fixed(None),
    "head_initialisation": _as_default("head_initialisation"),
    "freeze_features": Fixed(False),
    "views": Free("is of frozen features, which are a difference by themselves"),
    "init_from": Fixed(None),
    "learn": Fixed("all"),
    "class_weights": Fixed("none"),
    "epochs": _as_default("epochs"),
    "batch": Fixed(64),
    "optimizer": Together("Adam, but for Aggregate-SGD"),
    # By SGD, too: the paper says no other rate, momentum or schedule of Aggregate-SGD.
    "lr": _as_default("lr"),
    "lr_head": Fixed(None, 1e-4),
    "lr_masks": Fixed(None, 1e-4),
    "momentum": Together("of SGD alone"),
    "weight_decay": _as_default("weight_decay"),
    "schedule": _as_default("schedule"),
    "schedule_masks": ByDataset({"pacs": Later("same", "exponential"), "domainnet": Later("same", "inverse")}),
    "schedule_unit": Fixed("epoch"),
    "schedule_decay": ByDataset({"pacs": Fixed(0.99)}),
    "schedule_gamma": ByDataset({"domainnet": Fixed(1e-4)}),
    "schedule_power": ByDataset({"domainnet": Fixed(0.75)}),
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
        Free("is of averaged weights, which are a difference by themselves"),
    ),
    "patience": Fixed(None),
    "max_time": Fixed(None),
    "checkpoint_every": _PLACE,
    "fast": Fixed(False),
    "selection": Fixed("source-validation"),
    "domain_classifier": Free("is of the ensemble `weighted`, of which the paper has no number"),
    "seed": _DRAWN,
    "device": _LAST_BITS,
    "devices": Free("the batch is that of all processes together"),
    "threads": _LAST_BITS,
    "precision": Fixed("32", 32),
    "deterministic": _LAST_BITS,
    "compile": _LAST_BITS,
    "channels_last": _LAST_BITS,
}
"""Setting of a run -> what it must be."""

MOMENTUM = Fixed(0.9)
"""Of Aggregate-SGD; the paper does not say it, and this is what ``configs/paper`` runs."""

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
    },
    "aggregate": {"head_first": Later(0.0), "batch_norm": Later("learned")},
    "multi_headed": {"average": Fixed("logits"), "validation": Later("predictions")},
}
"""Method -> its own settings -> what each must be, of those that the paper trained itself."""

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
"""Methods whose numbers the paper quotes from papers of their own: with other splits, training, selection and code."""
OF_TRAINING = frozenset(
    {
        *(
            "sampling",
            "augmentation",
            "boundary",
            "head_initialisation",
            "epochs",
            "batch",
            "lr",
            "lr_head",
            "weight_decay",
        ),
        *("schedule", "schedule_unit", "schedule_decay", "schedule_gamma", "schedule_power", "clip"),
    }
)
"""Settings that decide how a quoted method is trained, which its own paper did in a way of its own."""

IN_WORDS: Mapping[str, Mapping[Any, str]] = {
    "freeze_features": {False: "the whole network trained", True: "features frozen, the task network trained alone"},
    "weights": {"imagenet": "torchvision's of ImageNet", "none": "none"},
    "fast": {True: "a smoke run", False: "full runs"},
    "sites": {"paper": "last block and classifier (preset paper)"},
    "lr_head": {None: "as lr"},
    "lr_masks": {None: "as lr"},
    "schedule_masks": {"same": "as schedule"},
    "boundary": {None: "the first mask site"},
    "square": {True: "squashed to a square", False: "the centre is cut out"},
}
"""Setting -> value -> what a difference calls it."""
