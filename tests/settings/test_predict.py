"""Settings of predicting that contradict each other."""

from __future__ import annotations

import pytest

from domain_masks.errors import InputError
from domain_masks.settings.command import check_command
from domain_masks.settings.predict import PredictSettings


def test_labels_are_compared_by_one_process() -> None:
    values: dict[str, object] = {"model": "m", "paths": ["p"], "labels": "folder"}
    assert check_command(PredictSettings, values).labels == "folder"
    with pytest.raises(InputError, match="labels: the accuracy is computed by one process"):
        check_command(PredictSettings, {**values, "launcher": "ray", "out": "v.csv"})
