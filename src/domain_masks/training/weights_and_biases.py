"""Runs at Weights & Biases (``--logger wandb``); project, account and offline mode are set as always, by ``WANDB_...``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any

from domain_masks.errors import InputError
from domain_masks.training.run_logs import PROJECT, LoggedRun

_WITHOUT_LOGIN = ("offline", "dryrun", "disabled")


def check() -> None:
    """Raise InputError where there is no login, or it cannot be verified; nothing is asked at the terminal."""
    import wandb  # noqa: PLC0415 - seconds to import

    if os.environ.get("WANDB_MODE") in _WITHOUT_LOGIN:
        return
    offline = "WANDB_MODE=offline keeps the logs here, for `wandb sync` later"
    try:
        is_known = wandb.login(prompt=False)
    except wandb.errors.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"logger: Weights & Biases cannot be reached ({reason}): {offline}") from error
    if not is_known:
        raise InputError(
            f"logger: no login at Weights & Biases: expected `wandb login` before, or WANDB_API_KEY; {offline}"
        )


class WandbRun:
    """A run at Weights & Biases, which :func:`start` returns."""

    def __init__(self, run: Any) -> None:
        self._run = run

    @property
    def identity(self) -> str:
        """The run's id."""
        return str(self._run.id)

    def add(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Log the numbers of an epoch."""
        self._run.log(dict(numbers), step=epoch)

    def finish(self, numbers: Mapping[str, float]) -> None:
        """Log the results to the run's summary."""
        self._run.summary.update(dict(numbers))

    def close(self, failed: bool) -> None:
        """End the run and wait until it is sent."""
        self._run.finish(exit_code=int(failed))


def start(run: LoggedRun) -> WandbRun:
    """Start a run, or continue the known one; no code, no output of the terminal and no files are sent."""
    import wandb  # noqa: PLC0415

    return WandbRun(
        wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            group=os.environ.get("WANDB_RUN_GROUP", run.group),
            id=run.known or secrets.token_hex(6),
            resume="allow",
            config=dict(run.config),
            dir=os.environ.get("WANDB_DIR", str(run.folder)),
            settings=wandb.Settings(console="off", save_code=False, silent=True),
        )
    )
