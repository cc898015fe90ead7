"""Defaults of settings that are not given: the method's, the dataset's, else the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domain_masks.cores import usual_readers
from domain_masks.data import DATASETS, ImageDataset, domains_named, record_of
from domain_masks.data.huggingface import PREFIX, absolute_address
from domain_masks.errors import InputError, combine_errors
from domain_masks.methods.method_registry import described
from domain_masks.methods.run_defaults import defaults_in_effect
from domain_masks.methods.settings import with_settings
from domain_masks.records.config import RunConfig
from domain_masks.records.files import is_there
from domain_masks.records.paper_defaults import paper_defaults
from domain_masks.records.preparation import RECORDED
from domain_masks.records.results import OFFICIAL
from domain_masks.records.run_folder import require_model
from domain_masks.settings.by_method import batch_mistakes, defaults_not_given, recipe_of
from domain_masks.settings.contradictions import contradictions
from domain_masks.settings.plugins import needed_plugins

_IMAGES = (*RECORDED, "size", "square")
_OWN_DRAWS = (
    "note: with --compile each process draws the random numbers of layers, such as dropout, for its own images, and on a CPU "
    "computes batch-norm statistics of these alone: the run depends on the number of processes"
)


def resolve(config: RunConfig, dataset: ImageDataset) -> RunConfig:
    """Fill in every setting that is None but has a default, and those of the method; make paths absolute.

    The recipe wins over a default of the method's own, and this over one of the dataset, also of settings that are never None.

    The result is complete: it repeats the run wherever it is read.

    Raises InputError where no domain is named to be held out and the dataset has no usual one, for mistakes in the
    method's settings, and for settings that contradict each other or do not suit the method.
    """
    kind = described(config.method_name)
    # First, as other defaults depend on them; from here on they count as given.
    config = config.model_copy(update=defaults_not_given(config, kind))
    record = record_of(dataset)
    defaults: dict[str, Any] = {
        "augmentation": record.augmentation,
        "workers": usual_readers(config.devices),
        **paper_defaults(dataset.name),
    }
    if dataset.name == "digits":
        # The images are in memory already: passing them between processes would cost more than reading them.
        defaults["workers"] = 0
    if config.backbone == "small":
        defaults["weights"] = "none"
    if config.learn == "masks":
        # Decay would change the masks that are not learned.
        defaults["weight_decay"] = 0.0
    # The settings of a resumed run are complete, and the run that it started from may be gone.
    if config.init_from is not None and None in (
        config.backbone,
        config.weights,
        *(getattr(config, name) for name in _IMAGES),
    ):
        require_model(config.init_from)

        from domain_masks.training.initial_model import InitialModel  # noqa: PLC0415 - of all this, only its files need torch

        defaults |= InitialModel.read(config.init_from).defaults(config)
    missing = {name: value for name, value in defaults.items() if getattr(config, name) in (None, ())}
    networked = config.model_copy(update=missing)
    if None in (getattr(networked, name) for name in _IMAGES):
        # Last, as the preparation of images depends on network and weights.
        from domain_masks.training.image_preparation import image_defaults  # noqa: PLC0415 - it asks torch's libraries

        images = image_defaults(networked, record)
        missing |= {name: value for name, value in images.items() if getattr(networked, name) is None}
    missing["target"] = targets_of(config, dataset)
    missing["plugin"] = needed_plugins(config)
    complete = with_settings(config).model_copy(update={**missing, **_absolute(config)})
    sources = len(dataset.domains) - len(complete.target or ())
    if wrong := [*contradictions(complete, kind), *batch_mistakes(complete, kind, sources)]:
        raise combine_errors(wrong)
    return complete


def targets_of(config: RunConfig, dataset: ImageDataset) -> tuple[str, ...]:
    """Return the held-out domains of a run; raises InputError where none is named and the dataset has no usual one."""
    if config.target is not None:
        return domains_named(config.target, dataset.domains)
    usual = record_of(dataset).held_out
    if usual is None:
        raise InputError(
            f"no held-out domain: expected --target with one or more of {', '.join(dataset.domains)}, joined by commas, "
            "or --target none to train on all of them"
        )
    return (usual,)


def _absolute(config: RunConfig) -> dict[str, Any]:
    """Return the settings that are paths, made absolute, so that a run can be repeated from another folder."""
    paths: dict[str, Any] = {
        name: value.absolute() for name in ("root", "init_from") if (value := getattr(config, name)) is not None
    }
    if config.dataset not in DATASETS and config.dataset.startswith(PREFIX):
        paths["dataset"] = absolute_address(config.dataset)
    elif config.dataset not in DATASETS and is_there(config.dataset):
        paths["dataset"] = str(Path(config.dataset).absolute())
    if config.weights not in (None, "imagenet", "none"):
        paths["weights"] = str(Path(str(config.weights)).absolute())
    return paths


def notes(config: RunConfig, dataset: ImageDataset) -> list[str]:
    """Return notes on the dataset and on the preparation of images, and a line for every setting that has no effect."""
    from domain_masks.training.image_preparation import image_notes  # noqa: PLC0415

    lines = [f"note: {note}" for note in (*dataset.notes, *image_notes(config))]
    draws_nothing = (
        dataset.splits is not None and bool((dataset.splits == "val").any()) and config.in_domain_test == OFFICIAL
    )
    if draws_nothing and config.split_seed != RunConfig.model_fields["split_seed"].default:
        lines.append(f"note: split_seed has no effect on {dataset.name}, which brings official splits")
    if config.compile and config.devices > 1:
        lines.append(_OWN_DRAWS)
    return [*lines, *filter(None, [note_on_recipe(config), note_on_method(config)])]


def note_on_recipe(config: RunConfig) -> str:
    """Return a line that lists what a complete configuration has as its recipe says; empty where that is nothing."""
    chosen = recipe_of(config, described(config.method_name))
    listed = ", ".join(f"{name} {value}" for name, value in chosen.items() if getattr(config, name) == value)
    return f"note: recipe {config.recipe!r}: {listed}" if listed else ""


def note_on_method(config: RunConfig) -> str:
    """Return a line that lists the method's own defaults in a complete configuration; empty where it has none."""
    own = defaults_in_effect(config, described(config.method_name))
    listed = ", ".join(f"{name} {value}" for name, value in own.items())
    return f"note: method {config.method_name!r} has defaults of its own: {listed}" if own else ""
