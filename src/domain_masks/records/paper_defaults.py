"""The paper's settings (Section 4.2, and the released code where it is silent), which are the defaults of a run."""

from __future__ import annotations

from typing import Any

_SHARED: dict[str, Any] = {
    "backbone": "resnet18",
    "weights": "imagenet",
    "epochs": 50,
    "lr": 1e-4,
    "weight_decay": 0.0,
    "schedule": "constant",
    "head_initialisation": "default",
}
_BY_DATASET: dict[str, dict[str, Any]] = {
    "digits": {"backbone": "small", "weights": "none", "epochs": 20, "lr": 3e-3},
    "domainnet": {"schedule": "inverse", "head_initialisation": "normal"},
    "pacs": {"weight_decay": 1e-5, "schedule": "exponential"},
}


def paper_defaults(dataset: str) -> dict[str, Any]:
    """Return the default settings of runs on a dataset; datasets that are not in the paper get the paper's shared ones."""
    return _SHARED | _BY_DATASET.get(dataset, {})
