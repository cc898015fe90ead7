"""The commands as Python functions, ``dm.train`` to ``dm.push``; their dependencies are imported when they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.calls.analyze import Analyses, AnalyzedRun, analyze
    from domain_masks.calls.benchmark import Benchmark, benchmark
    from domain_masks.calls.evaluate import evaluate
    from domain_masks.calls.export import export
    from domain_masks.calls.load import load
    from domain_masks.calls.predict import predict
    from domain_masks.calls.push import Pushed, push
    from domain_masks.calls.report import ReportPackage, report
    from domain_masks.calls.train import train
    from domain_masks.calls.trained_run import TrainedRun

__all__ = [
    "Analyses",
    "AnalyzedRun",
    "Benchmark",
    "Pushed",
    "ReportPackage",
    "TrainedRun",
    "analyze",
    "benchmark",
    "evaluate",
    "export",
    "load",
    "predict",
    "push",
    "report",
    "train",
]

attach(__name__)
