"""The state of a run as one file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from domain_masks.errors import RunFolderError
from domain_masks.methods import Method
from domain_masks.records import RunFolder
from domain_masks.records.files import check_schema, writing
from domain_masks.training.run_progress import Progress

SCHEMA = 4
"""4: images were called pictures before. 3: epochs are counted from 1. 2: the place within an epoch. 1 knew whole epochs only.

A run can be resumed from each.
"""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all; raises RunFolderError where they cannot be written."""
    buffer = io.BytesIO()
    # In memory first: PyTorch's own writer hides what the file system says, such as that the disk is full.
    torch.save({"schema": SCHEMA, **state}, buffer)
    with writing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, to the CPU; runs no code from the file.

    Raises RunFolderError for a missing, damaged or newer file.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing: expected the checkpoint of a run") from error
    except Exception as error:
        raise RunFolderError(
            f"{path} cannot be read ({type(error).__name__}): expected a whole checkpoint. Restore it, or train again in "
            "another folder with --out; --overwrite would lose what else the run has left"
        ) from error
    if not isinstance(state, dict) or "schema" not in state:
        raise RunFolderError(f"{path} is no checkpoint of a run: expected one written by `dmg train`, got no schema")
    check_schema(state["schema"], SCHEMA, path)
    if state["schema"] < 3:
        state = _counted_from_one(state)
    return state


def best_checkpoint(folder: RunFolder, progress: Progress, method: Method | None = None) -> dict[str, Any]:
    """Read ``best.ckpt``; raises RunFolderError that says why where no epoch could be chosen yet.

    With ``method`` the epoch has to be of the phase that the model comes from.
    """
    early = method is not None and not progress.has_reached_the_deciding_phase(method)
    if not progress.is_fitted and (progress.best_epoch is None or early):
        raise RunFolderError(
            f"{folder.path} has no epoch yet that the model could be of: its method chooses among those of a later phase, or "
            "its average of the weights begins later. Resume with --resume, and more time if --max_time ended it"
        )
    return load_checkpoint(folder.best)


def _counted_from_one(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of an older checkpoint, in which epochs were counted from 0 and -1 was none, as one of today."""
    changed: dict[str, Any] = {}
    if "epoch" in state:
        changed["epoch"] = state["epoch"] + 1
    if "progress" in state:
        best = state["progress"].get("best_epoch", -1)
        changed["progress"] = {**state["progress"], "best_epoch": best + 1 if best >= 0 else None}
    return {**state, **changed}
