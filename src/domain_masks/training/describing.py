"""What a run will do, in words."""

from __future__ import annotations

from domain_masks.training.experiment import Experiment


def describe(experiment: Experiment) -> str:
    """Return in one paragraph what a run will do."""
    config, splits = experiment.config, experiment.splits
    held = ", ".join(splits.targets) or "none"
    start = ""
    if config.init_from is not None:
        learned = (
            f"; learns the masks of {', '.join(experiment.facts['learned_sources'])} alone"
            if config.learn == "masks"
            else ""
        )
        start = f"\nstarts from {config.init_from}{learned}"
    sites = ", ".join(site.name for site in experiment.method.network.sites)
    kind = "masks" if experiment.method.has_masks() else "adapters"
    epochs = f"{config.epochs} epoch{'s' if config.epochs != 1 else ''}"
    if config.fast:
        phases = len(experiment.method.phases())
        each = "one epoch" if phases == 1 else f"{phases} phases of one epoch"
        epochs = f"a smoke run: {each} of two batches, a sample of the images evaluated"
    if experiment.method.is_closed_form():
        epochs = f"fitted at once{', to some images of every class' if config.fast else ''},"
    return (
        f"{config.method_name} on {splits.dataset.name}, held out: {held}; sources: {', '.join(splits.sources)}\n"
        f"{len(splits.train)} training, {len(splits.validation)} validation, {len(splits.held_out)} held-out images at "
        f"{experiment.preprocessing.size} pixels; {config.backbone} ({config.weights}), task network from "
        f"{experiment.method.network.boundary}{f', {kind} on {sites}' if sites else ''}"
        f"{'; features frozen' if config.freeze_features else ''}; {epochs} on {experiment.fabric.device}{start}"
    )
