"""Batch-norm statistics of prediction: of soft masks, where training's are of sampled ones (``--recalibrate_bn``)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from domain_masks.data import Subset
from domain_masks.methods import Method
from domain_masks.sampling import keyed_permutation
from domain_masks.training.experiment import FAST_IMAGES, Experiment
from domain_masks.training.reestimation import BATCHES

BatchNorm = nn.modules.batchnorm._BatchNorm
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def recalibrate(experiment: Experiment) -> int:
    """Estimate the statistics of batch norm in T again, as the method predicts; returns the number of images.

    Training images of the sources, under evaluation transforms and in an order keyed by the seed, pass through prediction in
    up to 50 batches, under all soft masks at once where there are masks. A statistic is the mean of those of the batches. No
    label and no image of a held-out domain is used, and F, which sees no masks, keeps its statistics. 0 where T has no batch
    norm that all domains share (``dsbn`` has one for each, without masks), or the setting ``recalibrate_bn`` is off.
    """
    config, method = experiment.config, experiment.method
    layers = task_layers(method)
    if not config.recalibrate_bn or not layers:
        return 0
    rows = experiment.learned_from()
    most = FAST_IMAGES if config.fast else BATCHES * experiment.rows_at_once
    order = keyed_permutation(len(rows), config.seed, "recalibration")[:most]
    # A last batch that is smaller would count as much as the others.
    chosen = Subset(
        rows.dataset, rows.indices[order[: max(1, len(order) // experiment.rows_at_once) * experiment.rows_at_once]]
    )
    before = {name: {key: _copy(getattr(layer, key)) for key in _STATISTICS} for name, layer in layers.items()}
    momenta = {name: layer.momentum for name, layer in layers.items()}
    training = method.training
    method.eval()
    for layer in layers.values():
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    try:
        batches = experiment.batches(chosen, with_labels=False)
        count = -(-len(chosen) // experiment.rows_at_once)
        with torch.no_grad(), experiment.fabric.autocast():
            for batch in experiment.reporter.track(batches, count, "statistics of batch norm"):
                method.predict(experiment.prepare(batch))
    finally:
        for name, layer in layers.items():
            layer.momentum = momenta[name]
            if not bool(layer.num_batches_tracked):  # no prediction runs it, or not by itself
                for key, value in before[name].items():
                    getattr(layer, key).copy_(value)
        method.train(training)
    taken = any(
        bool(layer.num_batches_tracked != before[name]["num_batches_tracked"]) for name, layer in layers.items()
    )
    if taken:
        experiment.reporter.say(
            f"statistics of batch norm in the upper layers are those of prediction, over {len(chosen)} training images"
        )
    return len(chosen) if taken else 0


def task_layers(method: Method) -> dict[str, BatchNorm]:
    """Return name -> batch norm of T that has running statistics, in the user's network."""
    network = method.network
    in_task = {name.rpartition(".")[0].removeprefix("network.") for name in network.task_state()}
    return {
        name: layer
        for name, layer in network.network.named_modules()
        if isinstance(layer, BatchNorm) and name in in_task and layer.running_mean is not None
    }


def _copy(value: Tensor | None) -> Tensor:
    return torch.empty(0) if value is None else value.clone()
