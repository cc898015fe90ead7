"""Runs at an MLflow server or store (``--logger mlflow``), which ``MLFLOW_TRACKING_URI`` names as always."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from domain_masks.errors import InputError
from domain_masks.training.run_logs import PROJECT, LoggedRun

_NOT_IN_NAMES = re.compile(r"[^\w\-./: ]", re.ASCII)
_LONGEST = 500


def check() -> None:
    """Raise InputError where the store that is set cannot be used or reached."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - seconds to import

    # A server that does not answer is refused within seconds, not minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        _experiment(_client())
    except (MlflowException, ImportError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f"logger: MLflow cannot use its store ({reason}): set MLFLOW_TRACKING_URI to a server that runs, or install "
            "mlflow with its database for a local one"
        ) from error


class MlflowRun:
    """A run at MLflow, which :func:`start` returns."""

    def __init__(self, client: Any, identity: str) -> None:
        self._client = client
        self.identity = identity
        self._epoch = 0

    def add(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Log the numbers of an epoch."""
        from mlflow.entities import Metric  # noqa: PLC0415

        self._epoch = epoch
        now = int(time.time() * 1000)
        metrics = [Metric(_NOT_IN_NAMES.sub("_", name), value, now, epoch) for name, value in numbers.items()]
        self._client.log_batch(self.identity, metrics=metrics)

    def finish(self, numbers: Mapping[str, float]) -> None:
        """Log the results."""
        self.add(numbers, self._epoch)

    def close(self, failed: bool) -> None:
        """End the run."""
        self._client.set_terminated(self.identity, "FAILED" if failed else "FINISHED")


def start(run: LoggedRun) -> MlflowRun:
    """Start a run with the settings as parameters, or continue the known one; no artefacts are sent."""
    client = _client()
    if run.known is not None:
        client.update_run(run.known, status="RUNNING")
        return MlflowRun(client, run.known)
    from mlflow.entities import Param  # noqa: PLC0415

    tags = {"group": run.group, "run_folder": str(run.folder)}
    made = client.create_run(_experiment(client), run_name=run.name, tags=tags).info.run_id
    client.log_batch(made, params=[Param(name, _text(value)) for name, value in run.config.items()])
    return MlflowRun(client, made)


def _client() -> Any:
    from mlflow import MlflowClient  # noqa: PLC0415

    return MlflowClient()


def _experiment(client: Any) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    known = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if known is None else known.experiment_id)


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:_LONGEST]
