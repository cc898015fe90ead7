"""Where the runs of a benchmark are executed: in this process, in several on this machine, or on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.experiments.launchers.base import InProcess, Job, Launcher, Outcome, execute

__all__ = ["InProcess", "Job", "Launcher", "Outcome", "execute"]

attach(__name__)
