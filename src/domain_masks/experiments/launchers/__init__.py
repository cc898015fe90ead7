"""Where the runs of a benchmark are carried out: in this process, in several on this machine, or on a cluster."""

from domain_masks.experiments.launchers.base import InProcess, Job, Launcher, Outcome, execute

__all__ = ["InProcess", "Job", "Launcher", "Outcome", "execute"]
