"""What a setting means that is not given: by dataset, else the paper's."""

from __future__ import annotations

import os
from typing import Any

from domain_masks.data import ImageDataset, record_of
from domain_masks.errors import InputError
from domain_masks.records.config import RunConfig
from domain_masks.training.origin import Origin

PAPER: dict[str, Any] = {
    "backbone": "resnet18",
    "weights": "imagenet",
    "epochs": 50,
    "lr": 1e-4,
    "weight_decay": 0.0,
    "schedule": "constant",
    "head_initialisation": "default",
}
BY_DATASET: dict[str, dict[str, Any]] = {
    "digits": {"backbone": "small", "weights": "none", "epochs": 20, "lr": 3e-3},
    "domainnet": {"schedule": "inverse", "head_initialisation": "normal"},
    "pacs": {"weight_decay": 1e-5, "schedule": "exponential"},
}


def resolve(config: RunConfig, dataset: ImageDataset) -> RunConfig:
    """Fill in every setting that is None but has a default.

    Raises InputError where no domain is named to be held out and the dataset has no usual one.
    """
    record = record_of(dataset)
    defaults: dict[str, Any] = {
        **PAPER,
        "size": record.size,
        "square": record.square,
        "augmentation": record.augmentation,
        "workers": max(0, min(8, (os.cpu_count() or 1) // max(1, config.devices))),
        **BY_DATASET.get(dataset.name, {}),
    }
    if dataset.name == "digits":
        # Rendered pictures are in memory already: handing them between processes would cost more than reading them.
        defaults["workers"] = 0
    if config.backbone == "small":
        defaults["weights"] = "none"
    if config.learn == "masks":
        # Decay would change the masks that are not learned.
        defaults["weight_decay"] = 0.0
    # The settings of a run that was begun are complete, and the run that it started from may be gone.
    if config.init_from is not None and None in (config.backbone, config.weights, config.size, config.square):
        defaults |= Origin.read(config.init_from).defaults(config)
    if config.target is None:
        if record.held_out is None:
            raise InputError(
                f"no held-out domain: expected --target with one or more of {', '.join(dataset.domains)}, joined by commas, "
                "or --target none to train on all of them"
            )
        defaults["target"] = (record.held_out,)
    missing = {name: value for name, value in defaults.items() if getattr(config, name) in (None, ())}
    return config.model_copy(update=missing)
