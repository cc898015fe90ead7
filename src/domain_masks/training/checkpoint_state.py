"""The content of a checkpoint that a run is resumed or evaluated from, and the settings that have to agree with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from domain_masks.errors import RunFolderError
from domain_masks.methods.settings import complete_method
from domain_masks.records.config import NOT_COMPUTED, RunConfig
from domain_masks.records.preparation import with_usual_preparation
from domain_masks.records.run_folder import RunFolder
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.conditions import Conditions, conditions_of
from domain_masks.training.provenance import Provenance
from domain_masks.training.run_progress import Progress, read_progress

MEASURED = "measured"
"""Where the best epoch has just ended: the weights that were validated, if training continues with others."""
REPEATABLE = {"epochs", "patience", "max_time", *NOT_COMPUTED}
"""Settings that a resumed run may change."""


@dataclass(frozen=True)
class CheckpointState:
    """The content of a checkpoint that a run is resumed or evaluated from.

    - ``method``: the method's weights; ``engine``: what :meth:`TrainingEngine.state_dict` returned
    - ``provenance``: what the run was made from
    - ``progress``: how far the run is; ``epochs``: how many were planned
    - ``parts``: the conditions under which it has been computed so far, see :mod:`domain_masks.training.conditions`
    - ``buffers``: name -> running statistics of every process (P, ...), within an epoch of several processes
    - ``measured``: the weights that were validated at the end of the best epoch, if training continues with others
    """

    method: Mapping[str, Any]
    provenance: Provenance
    progress: Progress = field(default_factory=Progress)
    epochs: int = 1
    parts: Sequence[Conditions] = ()
    engine: Mapping[str, Any] = field(default_factory=dict)
    buffers: Mapping[str, Tensor] | None = None
    measured: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, folder: RunFolder, config: RunConfig) -> CheckpointState:
        """Read ``last.ckpt``; raises RunFolderError where it is damaged, newer, of other settings, or has more epochs."""
        state = _read_state(folder, config)
        progress = _progress_in(state, folder)
        if config.epochs is not None and progress.epochs_done > config.epochs:
            raise RunFolderError(
                f"{folder.path} has {progress.epochs_done} epochs already: expected --epochs {progress.epochs_done} or more to "
                f"resume it, got {config.epochs}. For a shorter run name another folder with --out"
            )
        return cls(
            state["method"],
            Provenance.of_checkpoint(state),
            progress,
            state["config"].get("epochs") or 1,
            conditions_of(state),
            state["engine"],
            state.get("buffers"),
            state.get(MEASURED),
        )


def _progress_in(state: Mapping[str, Any], folder: RunFolder) -> Progress:
    try:
        return read_progress(state["progress"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unfit(folder, error) from error


def unfit(folder: RunFolder, error: Exception) -> RunFolderError:
    """Build the error for a checkpoint whose content does not fit the settings that it holds."""
    return RunFolderError(
        f"{folder.last} does not fit its own settings ({type(error).__name__}): the run was made by another version or changed "
        "by hand. Start a new run in another folder (--out)"
    )


def _read_state(folder: RunFolder, config: RunConfig) -> dict[str, Any]:
    """Read ``last.ckpt``; raises RunFolderError where it is damaged, newer, lacks a part, or is of other settings."""
    state = load_checkpoint(folder.last)
    parts = ("method", "engine", "progress", "config")
    if missing := [name for name in parts if not isinstance(state.get(name), Mapping)]:
        raise RunFolderError(
            f"{folder.last} is no checkpoint of a run: expected method, engine, progress and config in it, got no "
            f"{', '.join(missing)}. Restore it, or start a new run in another folder (--out)"
        )
    refuse_other_settings(config, state["config"], folder)
    return state


def refuse_other_settings(
    config: RunConfig,
    there: Mapping[str, Any],
    folder: RunFolder,
    advice: str = "Resume with the same settings, or name another folder with --out",
) -> None:
    """Raise RunFolderError where a setting that decides what a run computes differs from that of its checkpoint."""
    here = config.model_dump(mode="json")
    # Settings that an older version did not have were at their defaults.
    before = RunConfig().model_dump(mode="json") | with_usual_preparation(there)
    method = dict(before["method"])
    before["method"] = complete_method(method.pop("name"), method)
    changed = [
        f"{name} (was {before[name]!r}, now {value!r})"
        for name, value in here.items()
        if name not in REPEATABLE and before[name] != value
    ]
    if changed:
        raise RunFolderError(f"{folder.path} holds a run with other settings: {', '.join(changed)}. {advice}")
