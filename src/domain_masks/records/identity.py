"""Which runs compute the same: a key over all settings that decide what is computed.

A setting at its default is left out of the key, so that a version with one more setting finds the runs of versions without
it. The locations of data, weights and the run folder do not matter; files count by their content.

Where a version computes something else from unchanged settings, :data:`REVISIONS` has an entry: it becomes part of the key of
every run that it concerns, and a run records the revisions that existed when it was started. So affected runs of older
versions have other keys, and do not count as done.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from domain_masks.errors import RunFolderError
from domain_masks.records.config import AUTO, NOT_COMPUTED, RunConfig
from domain_masks.records.file_state import digest_of_file
from domain_masks.records.files import read_json
from domain_masks.records.plugins import plugin_digest
from domain_masks.records.preparation import without_usual_preparation
from domain_masks.records.run_folder import RunFolder
from domain_masks.records.setting_types import OWN_RANGE, augmentation_in_keys

INPUTS = "inputs"
"""The key in ``environment.json`` of what :func:`inputs_of` returned when the run was started."""
REVISED = "revisions"
"""Among the inputs: the names of the revisions that concern a run."""
SITE_PRESETS = frozenset({"paper", "last-stage", "released-code", "last-block"})
PLUGINS = "plugins"
"""Among the inputs: the contents of the plugins that a run uses."""
CONTENT = "content"
"""Among the inputs: the fingerprint of the dataset's images, which older versions did not record."""
_NAMES = ("imagenet", "none")
_HUB = "hf:"
_OF_ONE_FUNCTION = re.compile(r"(torchvision:)?(small|alexnet|vgg\d+|vgg\d+_bn|resnet\d+|mobilenet_v2)")
"""Networks whose weights determine their function."""


def _dropout_before_boundary(config: RunConfig) -> bool:
    """Dropout directly before the boundary belongs to the task network: off while masks are learned, never frozen."""
    named = config.boundary is not None or not SITE_PRESETS.issuperset(config.sites)
    last_part = (config.backbone or "").rpartition(":")[2]
    if config.learn == "masks" or not (named or last_part == "alexnet"):
        return False
    if config.method_name in ("aggregate", "multi_headed"):
        return config.freeze_features
    if config.method_name == "dmg":
        # Frozen features never had dropout, nor has the task network now, unless the method is told to keep it.
        return config.freeze_features == bool(config.method.get("dropout", False))
    return True


_WITH_DROP_PATH = (
    *("efficientnet", "convnext", "swin", "maxvit"),  # torchvision
    *("cpubone", "davit", "efficientformer", "fasternet", "nextvit", "tiny_vit"),  # timm, where it is on by default
)


def _drop_path_in_task(config: RunConfig) -> bool:
    """Drop path in the task network is off while masks are learned, as all other dropout is."""
    kept = config.method_name in ("aggregate", "multi_headed") or bool(config.method.get("dropout", False))
    has_it = any(family in (config.backbone or "") for family in _WITH_DROP_PATH)
    return has_it and not kept and config.learn != "masks"


def _mean_of_accumulated_rows(config: RunConfig) -> bool:
    """Accumulated gradients are the mean over all rows of their batches, also in the smaller last group of an epoch."""
    return config.accumulate > 1


def _contract_of_methods(config: RunConfig) -> bool:
    """Unused gradients are dropped, phases select for themselves, closed forms see features of evaluation mode."""
    # The steps of any other method are unknown here.
    return config.method_name not in ("dmg", "aggregate", "multi_headed")


def _crops_from_originals(config: RunConfig) -> bool:
    """Parts of training images are cut from the originals, never from enlarged ones, and each has its own order of colours."""
    # The embedded digits have the input size: they were never resized, and are not cropped.
    return not (config.dataset == "digits" and config.augmentation in ("digits", "none"))


def _frozen_features_of_the_function(config: RunConfig) -> bool:
    """Frozen features are cached by the network's function, no longer by its weights alone, which two networks can share."""
    return config.freeze_features and _OF_ONE_FUNCTION.fullmatch(config.backbone or "") is None


def _frozen_features_in_single_precision(config: RunConfig) -> bool:
    """Frozen features are computed in single precision; before, in that of the first run that needed them."""
    # In single precision, the check of the saved model refused features of another precision.
    return config.freeze_features and config.precision != "32"


def _nonnegative_regulariser(config: RunConfig) -> bool:
    """MetaReg sets negative weights of its penalty to zero after each update, and learns them at rate 1e-3."""
    return config.method_name == "metareg" and bool(config.method.get("nonnegative", True))


_UPDATED_WITHIN_A_STEP = frozenset({"epi_fcr", "metareg"})


def _updated_weights_in_16_bits(config: RunConfig) -> bool:
    """In 16 bits, a method that updates weights within a step goes on with the new ones; before, with the old ones."""
    return config.precision != "32" and (config.method_name in _UPDATED_WITHIN_A_STEP or bool(config.plugin))


def _draws_of_compiled_networks(config: RunConfig) -> bool:
    """Layers of compiled networks, such as dropout, draw the same random numbers as without `compile`."""
    return config.compile


def _norm_of_shared_masks(config: RunConfig) -> bool:
    """One mask for all domains counts once in the norm that `clip` limits, no longer once per domain."""
    return config.clip is not None and config.method.get("masks") == "shared"


def _kernel_in_single_precision(config: RunConfig) -> bool:
    """DICA predicts from features in single precision, as it is fitted, and with exact kernels; before, both had 16 bits."""
    return config.method_name == "dica" and config.precision != "32"


REVISIONS: dict[str, Callable[[RunConfig], bool]] = {
    "crops-from-originals": _crops_from_originals,
    "drop-path-in-task": _drop_path_in_task,
    "dropout-before-boundary": _dropout_before_boundary,
    "mean-of-accumulated-rows": _mean_of_accumulated_rows,
    "contract-of-methods": _contract_of_methods,
    "frozen-features-of-the-function": _frozen_features_of_the_function,
    "frozen-features-in-single-precision": _frozen_features_in_single_precision,
    "nonnegative-regulariser": _nonnegative_regulariser,
    "updated-weights-in-16-bits": _updated_weights_in_16_bits,
    "draws-of-compiled-networks": _draws_of_compiled_networks,
    "norm-of-shared-masks": _norm_of_shared_masks,
    "kernel-in-single-precision": _kernel_in_single_precision,
}
"""Name of a change in what is computed -> predicate: whether it concerns a run, by its complete configuration.

The first line of the predicate's docstring says what is computed now, and is printed when an older run is resumed. In doubt a
predicate returns True: a run that is repeated needlessly costs time, but an old number under a new key is wrong.
"""


def revisions(config: RunConfig) -> list[str]:
    """Return the names of the revisions that concern a complete configuration, sorted."""
    return sorted(name for name, concerns in REVISIONS.items() if concerns(config))


def revisions_missing(config: RunConfig, inputs: Mapping[str, Any]) -> list[str]:
    """Return the names of the revisions that concern a run and are newer than its recorded ``inputs``."""
    return [name for name in revisions(config) if name not in inputs.get(REVISED, ())]


def revised_since(config: RunConfig, inputs: Mapping[str, Any]) -> list[str]:
    """Return a line per revision that concerns a run and is newer than its recorded ``inputs``."""
    missing = revisions_missing(config, inputs)
    return [(REVISIONS[name].__doc__ or name).splitlines()[0].rstrip(".") for name in missing]


def plugins_changed(config: RunConfig, inputs: Mapping[str, Any]) -> bool:
    """Return whether the plugins of a run have changed since it recorded its ``inputs``."""
    return bool(config.plugin) and inputs.get(PLUGINS) != _contents_of_plugins(config)


def run_key(config: RunConfig, inputs: Mapping[str, Any], method_defaults: Mapping[str, Any]) -> str:
    """Return the key of a run, 16 hexadecimal digits: equal for runs that compute the same.

    - ``config``: complete, with the defaults of dataset and method filled in
    - ``inputs``: the content that the settings refer to, see :func:`inputs_of`
    - ``method_defaults``: the defaults of the method's own settings
    """
    defaults = type(config)().model_dump(mode="json")
    settings = {
        name: value
        for name, value in config.model_dump(mode="json").items()
        if name not in (*NOT_COMPUTED, "method", "target") and value != defaults[name]
    }
    settings = without_usual_preparation(settings, config.square)
    if "augmentation" in settings:
        settings["augmentation"] = augmentation_in_keys(settings["augmentation"])
    if settings.get("sites") == ["paper"]:
        # The default preset of every network that has it.
        del settings["sites"]
    method = {name: value for name, value in config.method.to_dict().items() if method_defaults.get(name, ...) != value}
    settings |= {"method": method | {"name": config.method_name}, "target": sorted(config.target or ())}
    settings |= {name: value for name, value in inputs.items() if value is not None}
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def inputs_of(config: RunConfig, domains: Iterable[str], content: str | None = None) -> dict[str, Any]:
    """Return the inputs of a configuration: the dataset's name, domains and ``content``, and the content of weights files.

    Also the content of plugins, as a changed method is another one; batch, learning rate and value range where they were
    resolved from ``auto`` and ``dataset``; and the revisions that concern the configuration. A missing file counts by its name.
    """
    inputs: dict[str, Any] = {"dataset": dataset_name(config.dataset), "domains": sorted(domains)}
    if content is not None:
        inputs[CONTENT] = content
    if config.weights is not None and config.weights not in _NAMES:
        inputs["weights"] = _content(Path(config.weights))
    if config.init_from is not None:
        inputs["init_from"] = _content(RunFolder(config.init_from).model)
    if not isinstance(config.batch, int):
        inputs["batch"] = config.batch
    if config.lr == AUTO:
        inputs["lr"] = AUTO
    if config.value_range == OWN_RANGE:
        inputs["value_range"] = config.value_range
    inputs |= {name: AUTO for name in ("precision", "channels_last") if getattr(config, name) == AUTO}
    if config.plugin:
        inputs[PLUGINS] = _contents_of_plugins(config)
    if concerned := revisions(config):
        inputs[REVISED] = concerned
    return inputs


def inputs_noted(folder: RunFolder) -> dict[str, Any] | None:
    """Return the inputs that a run recorded when it was started; None for versions that did not, and where none can be read."""
    try:
        noted = read_json(folder.environment).get(INPUTS)
    except RunFolderError:
        return None
    return noted if isinstance(noted, dict) else None


def dataset_name(dataset: str) -> str:
    """Return a dataset's name, or that of its folder or manifest, which stays the same where it is moved."""
    if dataset.startswith(_HUB):
        address = dataset.removeprefix(_HUB)
        return f"{_HUB}{Path(address).name}" if Path(address).is_absolute() else dataset
    return dataset if Path(dataset).name == dataset else f"folder:{Path(dataset).name}"


def _contents_of_plugins(config: RunConfig) -> list[str]:
    return sorted(map(_content_of_plugin, config.plugin))


def _content_of_plugin(plugin: str) -> str:
    try:
        return plugin_digest(plugin) or f"module:{plugin}"
    except OSError:
        return f"file:{Path(plugin).name}"


def _content(path: Path) -> str:
    try:
        return digest_of_file(path)
    except OSError:
        return f"file:{path.name}" if path.name != "model.safetensors" else f"run:{path.parent.name}"
