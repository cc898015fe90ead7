"""Whether a run may stand beside the paper's number: every setting in which its protocol is another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from domain_masks.records.results import Results

DATASETS = ("pacs", "domainnet")
BACKBONES = ("alexnet", "resnet18", "resnet50")
_ANYWHERE: dict[str, Any] = {
    "weights": "imagenet",
    "freeze_features": False,
    "size": 224,
    "epochs": 50,
    "batch": 64,
    "optimizer": "adam",
    "lr": 1e-4,
    "lr_head": None,
    "lr_masks": None,
    "schedule_unit": "epoch",
    "sampling": "pooled",
    "class_weights": "none",
    "clip": None,
    "accumulate": 1,
    "patience": None,
    "max_time": None,
    "init_from": None,
    "learn": "all",
    "fast": False,
    "skip_bad": False,
    "selection": "source-validation",
}
_BY_DATASET: dict[str, dict[str, Any]] = {
    "pacs": {
        "augmentation": "pacs",
        "weight_decay": 1e-5,
        "schedule": "exponential",
        "schedule_decay": 0.99,
        "head_initialisation": "default",
    },
    "domainnet": {
        "augmentation": "domainnet",
        "weight_decay": 0.0,
        "schedule": "inverse",
        "schedule_gamma": 1e-4,
        "schedule_power": 0.75,
        "head_initialisation": "normal",
    },
}
_DMG: dict[str, Any] = {
    "overlap_weight": 0.1,
    "overlap_reduction": "sum",
    "overlap_epsilon": 0.0,
    "sparsity_weight": 0.0,
    "classification_reduction": "mean",
    "initialisation": "uniform",
    "dropout": False,
    "average": "logits",
    "validation": "predictions",
}
_OF_SGD = {"optimizer", "lr", "weight_decay", "schedule", "schedule_decay", "schedule_gamma", "schedule_power"}
"""What the paper does not say of Aggregate-SGD, so that nothing can be another."""
_IN_WORDS: dict[str, dict[Any, str]] = {
    "freeze_features": {False: "the whole network trained", True: "features frozen, the task network trained alone"},
    "weights": {"imagenet": "torchvision's of ImageNet", "none": "none"},
    "fast": {True: "a smoke run", False: "full runs"},
    "sites": {"paper": "last block and classifier (preset paper)"},
}


@dataclass(frozen=True)
class Difference:
    """A setting that is another one in the paper; both sides as text."""

    setting: str
    paper: str
    here: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.here} (paper: {self.paper})"


def protocol_match(config: Mapping[str, Any]) -> list[Difference]:
    """Return every setting of a run, as in ``config.yaml``, in which the paper's protocol (Section 4) is another one.

    Nothing differs where the paper's number may stand beside the run's. What the paper leaves open (seeds, augmentation) is
    held against the authors' released code, which the defaults follow. A setting that is missing is a difference.
    """
    dataset = config.get("dataset")
    method = config.get("method")
    method = {"name": method} if isinstance(method, str) else method if isinstance(method, Mapping) else {}
    found = []
    if dataset not in DATASETS:
        found.append(Difference("dataset", "PACS or DomainNet", _text("dataset", dataset)))
    if config.get("backbone") not in BACKBONES:
        found.append(
            Difference("backbone", "AlexNet, ResNet-18 or ResNet-50", _text("backbone", config.get("backbone")))
        )
    expected = _ANYWHERE | _BY_DATASET.get(str(dataset), {})
    by_sgd = method.get("name") == "aggregate" and config.get("optimizer") == "sgd"
    for name, wanted in expected.items():
        if not (by_sgd and name in _OF_SGD):
            found += _difference(name, wanted, config.get(name, "not recorded"))
    if method.get("name") == "dmg":
        if not _are_the_papers(config.get("sites")):
            found.append(Difference("sites", _text("sites", "paper"), _text("sites", config.get("sites"))))
        for name, wanted in _DMG.items():
            found += _difference(name, wanted, method.get(name, "not recorded"))
    return found


def run_differences(results: Results) -> list[Difference]:
    """Return in what a finished run itself departs from the paper's protocol, whatever its settings say."""
    found = []
    if len(results.targets) != 1:
        found.append(Difference("held-out domains", "one", str(len(results.targets))))
    if results.protocol["target_labels_used"]:
        found.append(Difference("labels of the held-out domain", "not used", "used for training or selection (oracle)"))
    return found


def _difference(name: str, wanted: Any, given: Any) -> Iterator[Difference]:
    both_numbers = _is_number(wanted) and _is_number(given)
    if (float(wanted) != float(given)) if both_numbers else wanted != given:
        yield Difference(name, _text(name, wanted), _text(name, given))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_the_papers(sites: Any) -> bool:
    """Whether these are the masked inputs of Section 4; of the three backbones they are the default, too."""
    return sites in ("paper", None) or (isinstance(sites, list | tuple) and list(sites) in ([], ["paper"]))


def _text(name: str, value: Any) -> str:
    words = _IN_WORDS.get(name, {})
    if isinstance(value, bool | str) and value in words:
        return words[value]
    if name in ("weights", "dataset", "init_from") and isinstance(value, str):
        return f"file {PurePath(value).name}" if "/" in value or "\\" in value else value
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "by default"
    return f"{value:g}" if isinstance(value, float) else str(value)
