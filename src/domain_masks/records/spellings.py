"""Synonyms of settings: the names that other tools use, and hyphens for underscores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from domain_masks.errors import nearest

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "dataset": ("data", "dataset_name"),
    "root": ("data_dir", "data_root", "data_path"),
    "target": ("held_out", "target_domain", "test_domain"),
    "targets": ("target_domains", "test_domains"),
    "method": ("algorithm",),
    "methods": ("algorithms",),
    "backbone": ("arch", "architecture", "model", "model_name"),
    "size": ("image_size", "img_size", "input_size"),
    "workers": ("num_workers", "n_workers"),
    "epochs": ("num_epochs", "max_epochs", "n_epochs"),
    "batch": ("batch_size", "bs"),
    "optimizer": ("optim", "opt", "optimiser"),
    "lr": ("learning_rate",),
    "lr_head": ("head_lr", "learning_rate_head"),
    "lr_masks": ("mask_lr", "masks_lr", "learning_rate_masks"),
    "weight_decay": ("wd",),
    "schedule": ("scheduler", "lr_scheduler", "lr_schedule"),
    "augmentation": ("augment", "aug"),
    "auto_augment": ("aa",),
    "random_erasing": ("erasing", "reprob", "random_erase"),
    "label_smoothing": ("smoothing",),
    "warmup_epochs": ("warmup",),
    "freeze_epochs": ("freeze",),
    "layer_decay": ("layerwise_lr_decay", "llrd"),
    "logger": ("loggers", "report_to"),
    "clip": ("clip_grad", "grad_clip", "gradient_clip", "max_grad_norm"),
    "accumulate": ("accumulate_grad_batches", "gradient_accumulation_steps"),
    "devices": ("num_devices",),
    "seed": ("random_seed",),
    "jobs": ("num_jobs", "n_jobs"),
    "out": ("output", "output_dir", "out_dir", "o"),
    "top": ("top_k", "topk"),
    "images": ("pictures",),
    "no_images": ("no_pictures",),
}
"""Setting -> other names that are accepted for it in flags, YAML and Python; one letter is a flag with one hyphen.

A name that a command uses for another setting is not a synonym there: ``model`` is the backbone in training, the model in
``dmg predict``. Help and files show the setting's own name.
"""


def spelled(name: str, known: Collection[str]) -> str:
    """Return the setting among ``known`` that ``name`` means; an unknown name unchanged."""
    plain = name.replace("-", "_")
    if plain in known:
        return plain
    return next((setting for setting, others in SYNONYMS.items() if plain in others and setting in known), name)


def canonical(values: Mapping[str, Any], known: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Return settings under their own names, those of a method too; and a line for each that is given in two spellings."""
    settings, mistakes = _under(values, known)
    method = settings.get("method")
    if isinstance(method, Mapping):
        settings["method"], wrong = underscored(method)
        mistakes += [f"method.{line}" for line in wrong]
    return settings, mistakes


def underscored(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a method's settings with underscores for hyphens, and a line for each that is given in two spellings."""
    names = {name.replace("-", "_") for name in values if isinstance(name, str)}
    return _under(values, names)


def take(name: str, value: Any, values: dict[str, Any]) -> tuple[Any, list[str]]:
    """Take an argument's other names out of ``values``; returns its value, and a line where it is given in two spellings."""
    mistakes = []
    spelling = None if value is None else name
    for other in [other for other in values if spelled(other, (name,)) == name]:
        value_there = values.pop(other)
        if spelling is None:
            spelling, value = other, value_there
        else:
            mistakes.append(two_spellings(spelling, other))
    return value, mistakes


def two_spellings(first: str, second: str) -> str:
    """Return the message for a setting that is given under two names."""
    return f"{first} and {second}: two spellings of one setting: expected one of them"


def suggestion(name: str, known: Iterable[str]) -> str | None:
    """Return the setting that an unknown name is most likely a misspelling of, by any of its names."""
    meant: dict[str, str] = {}
    for setting in known:
        meant |= dict.fromkeys((other for other in SYNONYMS.get(setting, ()) if len(other) > 1), setting)
    meant |= {setting: setting for setting in known}
    guess = nearest(name.replace("-", "_"), meant)
    return None if guess is None else meant[guess]


def _under(values: Mapping[str, Any], known: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    settings: dict[str, Any] = {}
    spellings: dict[str, str] = {}
    mistakes = []
    for name, value in values.items():
        own = spelled(name, known) if isinstance(name, str) else name
        if own in spellings:
            mistakes.append(two_spellings(spellings[own], name))
            continue
        spellings[own] = name
        settings[own] = value
    return settings, mistakes
