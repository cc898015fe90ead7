"""Contradictions between settings that are valid one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from domain_masks.records.config import AUTO, RunConfig
from domain_masks.settings.by_method import defaults_not_given

if TYPE_CHECKING:
    from domain_masks.methods import Description

_OF_SCHEDULE = {
    "schedule_decay": ("exponential",),
    "schedule_gamma": ("inverse",),
    "schedule_power": ("inverse",),
}
_OF_AVERAGE = {
    "average_decay": "ema",
    "average_start": "swa",
    **dict.fromkeys(("average_interval", "average_patience", "average_overfit_patience", "average_tolerance"), "swad"),
}
_OWN = frozenset({"constant", "exponential", "inverse", "cosine"})
"""Schedules whose settings are known; a schedule that was added may use any."""


def contradictions(config: RunConfig, method: type[Description]) -> list[str]:
    """Return a line for every setting that another one excludes or leaves without any effect.

    A complete ``config.yaml`` holds every setting: one counts as given where it differs from its default. The defaults of
    :func:`domain_masks.training.defaults.resolve` never contradict each other. Settings that are not given have the method's
    own defaults, also where these are not filled in yet.
    """
    config = config.model_copy(update=defaults_not_given(config, method))
    return [
        *_of_the_method(config, method),
        *_of_a_sum(config),
        *_of_the_training(config),
        *_of_the_device(config),
        *_of_frozen_epochs(config, method),
        *_of_the_first_epochs(config),
        *_of_the_average(config),
    ]


def _of_the_method(config: RunConfig, method: type[Description]) -> Iterator[str]:
    name = method.name
    if config.freeze_features and method.needs == "images":
        yield f"freeze_features: method {name!r} trains on images and not on frozen features: leave it out"
    if not method.has_masks():
        if config.lr_masks is not None:
            yield f"lr_masks: method {name!r} has no masks: leave it out"
        if config.schedule_masks != "same":
            yield f"schedule_masks: method {name!r} has no masks: leave it out"
        if config.learn == "masks":
            yield f"learn: 'masks' needs a method that has masks, and {name!r} has none: use all"
    else:
        yield from _of_an_ablation(config, method)
    if not method.has_sites() and config.sites and not sites_matter(config):
        yield f"sites: method {name!r} has no masks: leave them out (boundary says where frozen features end)"
    if config.precision == "16" and not method.scaled_gradients:
        yield f"precision: method {name!r} reads gradients, which are scaled with 16: use bf16 or 32"
    if (
        config.recalibrate_bn
        and config.method.get("batch_norm", getattr(method.Settings, "batch_norm", None)) == "fixed"
    ):
        yield (
            f"recalibrate_bn: would replace the statistics that method {name!r} keeps with method.batch_norm 'fixed': leave it "
            "out, or use method.batch_norm learned"
        )
    if method.is_closed_form():
        yield from _of_a_closed_form(config, name)


def _of_a_sum(config: RunConfig) -> Iterator[str]:
    if config.accumulate > 1 and config.method.get("classification_reduction") == "sum":
        yield (
            "accumulate: averages over the images of its batches, and method.classification_reduction 'sum' adds them up: use "
            "a larger batch, or 'mean'"
        )


def _of_a_closed_form(config: RunConfig, name: str) -> Iterator[str]:
    fitted = f"method {name!r} is fitted in closed form, without"
    if config.average != "none":
        yield f"average: {fitted} steps to average over: leave it out"
    if config.class_weights != "none":
        yield f"class_weights: {fitted} a loss to weight: leave it out"
    if config.label_smoothing:
        yield f"label_smoothing: {fitted} a loss: leave it out"
    if config.lr == AUTO:
        yield f"lr: {fitted} a learning rate to search: leave it out"
    for setting in ("warmup_epochs", "layer_decay"):
        if _differs(config, setting):
            yield f"{setting}: {fitted} a learning rate: leave it out"


def _of_an_ablation(config: RunConfig, method: type[Description]) -> Iterator[str]:
    kind = config.method.get("masks", "learned")
    if config.init_from is not None and kind != "learned":
        yield f"init_from: would replace the masks that method.masks {kind!r} starts with: leave one of the two out"
    if not method.learns_masks({"masks": kind}):
        for setting, usual in (("lr_masks", None), ("schedule_masks", "same")):
            if getattr(config, setting) != usual:
                yield f"{setting}: method.masks {kind!r} learns no masks: leave it out"


def sites_matter(config: RunConfig) -> bool:
    """Whether sites matter for a method without masks: they decide where frozen features end, unless the boundary is set."""
    return config.freeze_features and config.boundary is None


def _of_the_training(config: RunConfig) -> Iterator[str]:
    if config.learn == "masks" and config.init_from is None:
        yield "learn: 'masks' needs a trained network: name its run with init_from"
    if config.learn == "masks" and config.weight_decay:
        yield "weight_decay: would change masks that are not trained: leave it out with learn masks"
    if _differs(config, "momentum") and config.optimizer != "sgd":
        yield f"momentum: {config.optimizer} has none: use optimizer sgd, or leave it out"
    for name, schedules in _OF_SCHEDULE.items():
        # A schedule that was added may use any setting.
        used = {config.schedule, config.schedule_masks} - {"same"}
        if _differs(config, name) and config.schedule is not None and used <= _OWN.difference(schedules):
            yield f"{name}: only schedule {' or '.join(schedules)} uses it, and schedule is {config.schedule}: leave it out"
    if _differs(config, "views") and not config.freeze_features:
        yield "views: only frozen features have views, others are augmented each epoch: use freeze_features, or leave it out"
    if config.skip_bad and not config.verify:
        yield "skip_bad: unreadable images are found by verification, which verify: false skips: leave one of the two out"
    if config.recalibrate_bn and config.devices > 1:
        yield "recalibrate_bn: statistics are estimated on one device: use devices 1, or leave it out"
    if config.recalibrate_bn and config.learn == "masks":
        yield "recalibrate_bn: learn masks keeps the network, its statistics included, for all masks: leave one of the two out"
    if config.backbone == "small" and config.weights == "imagenet":
        yield "weights: backbone 'small' has no ImageNet weights: use none or a file"


def _of_the_device(config: RunConfig) -> Iterator[str]:
    if config.precision == "16" and config.device == "cpu":
        yield "precision: 16 needs a GPU: use bf16 or 32 on device cpu"
    if config.device == "mps" and config.precision in ("16", "bf16"):
        yield f"precision: device mps computes in single precision, got {config.precision}: use 32"
    if config.device == "mps" and config.devices > 1:
        yield f"devices: device mps is one device, got {config.devices}: use 1"
    if isinstance(config.batch, int) and config.batch < config.devices:
        yield f"batch: {config.batch} images cannot be shared by {config.devices} devices: use at least one for each"


def _of_frozen_epochs(config: RunConfig, method: type[Description]) -> Iterator[str]:
    for setting in [name for name in ("freeze_epochs", "unfreeze_every") if _differs(config, name)]:
        if method.is_closed_form() or method.needs == "features":
            yield f"{setting}: method {method.name!r} never trains the layers below the boundary: leave it out"
        elif config.freeze_features or config.learn == "masks":
            other = "freeze_features" if config.freeze_features else "learn: masks"
            yield f"{setting}: {other} freezes these layers in all epochs: leave one of the two out"
        elif not config.freeze_epochs:
            yield (
                "unfreeze_every: trains the layers that freeze_epochs froze one by one, and freeze_epochs is 0: use 1 or more, "
                "or leave it out"
            )


def _of_the_first_epochs(config: RunConfig) -> Iterator[str]:
    if config.epochs is not None and not config.fast and config.freeze_epochs >= config.epochs:
        yield (
            f"freeze_epochs: expected fewer than the {config.epochs} epochs of the run, got {config.freeze_epochs}; "
            "freeze_features freezes these layers in all epochs"
        )
    if config.epochs is not None and not config.fast and config.warmup_epochs >= config.epochs:
        yield f"warmup_epochs: expected fewer than the {config.epochs} epochs of the run, got {config.warmup_epochs}"


def _of_the_average(config: RunConfig) -> Iterator[str]:
    for name, kind in _OF_AVERAGE.items():
        if _differs(config, name) and config.average != kind:
            yield f"{name}: only average {kind} uses it, and average is {config.average}: leave it out"
    if config.average == "swad" and config.patience is not None:
        yield "patience: average swad has its own stopping rule and selects no epoch: leave it out"


def _differs(config: RunConfig, name: str) -> bool:
    default: Any = RunConfig.model_fields[name].default
    return bool(getattr(config, name) != default)
