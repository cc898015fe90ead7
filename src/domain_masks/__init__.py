"""Domain generalization with domain-specific masks.

``dm.train(...)`` trains one run, ``dm.load(...)`` gives its model to predict with; every other command is a function as well:
``dm.benchmark``, ``dm.evaluate``, ``dm.analyze``, ``dm.report``, ``dm.predict``, ``dm.export``, ``dm.push``. ``dm.masks``,
``dm.networks`` and ``dm.methods`` are the parts. Submodules are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domain_masks import (
        analysis,
        data,
        deploy,
        errors,
        evaluation,
        experiments,
        masks,
        methods,
        networks,
        records,
        training,
    )
    from domain_masks.calls import ReportPackage, analyze, benchmark, evaluate, export, load, predict, push, train
    from domain_masks.estimator import DomainMaskClassifier

    report: ReportPackage

__version__ = "0.1.0"

__all__ = [
    "DomainMaskClassifier",
    "analysis",
    "analyze",
    "benchmark",
    "data",
    "deploy",
    "errors",
    "evaluate",
    "evaluation",
    "experiments",
    "export",
    "load",
    "masks",
    "methods",
    "networks",
    "predict",
    "push",
    "records",
    "report",
    "train",
    "training",
]

_CALLS = ("analyze", "benchmark", "evaluate", "export", "load", "predict", "push", "train")
_SUBMODULES = (
    "analysis",
    "data",
    "deploy",
    "errors",
    "evaluation",
    "experiments",
    "masks",
    "methods",
    "networks",
    "records",
    "report",
    "training",
)


if not TYPE_CHECKING:  # a type checker that saw it would accept every name

    def __getattr__(name: str) -> Any:
        if name in _CALLS:
            return getattr(importlib.import_module("domain_masks.calls"), name)
        if name == "DomainMaskClassifier":
            return importlib.import_module("domain_masks.estimator").DomainMaskClassifier
        if name in _SUBMODULES:
            return importlib.import_module(f"domain_masks.{name}")
        raise AttributeError(f"module 'domain_masks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_CALLS, *_SUBMODULES, "DomainMaskClassifier"})
