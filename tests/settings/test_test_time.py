"""Options of test time that contradict each other or other settings: one message for all."""

from __future__ import annotations

from typing import Any

import pytest

from domain_masks.errors import InputError
from domain_masks.records.test_time import AtTestTime
from domain_masks.settings.command import check_command
from domain_masks.settings.finished_runs import EvaluateSettings
from domain_masks.settings.predict import PredictSettings

BAD_EVALUATE: dict[str, tuple[dict[str, Any], str]] = {
    "both": ({"tta": "flips", "adapt": "tent", "out": "o"}, "tta and adapt: expected one of them"),
    "no folder": ({"adapt": "tent"}, "add --out DIR"),
    "a folder for nothing": ({"out": "o"}, "out: belongs to --tta and --adapt"),
    "a rate for nothing": (
        {"adapt": "batch-norm", "adapt_rate": 0.1, "out": "o"},
        "adapt_rate: belongs to --adapt tent",
    ),
    "a batch for nothing": ({"tta": "flips", "adapt_batch": 8, "out": "o"}, "adapt_batch: belongs to --adapt"),
    "a temperature": (
        {"tta": "flips", "calibrate": True, "out": "o"},
        "calibrate: a temperature is fitted to ordinary",
    ),
    "a rate of 0": ({"adapt": "tent", "adapt_rate": 0, "out": "o"}, "adapt_rate: "),
    "another name": ({"adapt": "tend", "out": "o"}, "adapt: "),
}
BAD_PREDICT: dict[str, tuple[dict[str, Any], str]] = {
    "both": ({"tta": "flips", "adapt": "tent"}, "tta and adapt: expected one of them"),
    "a list on standard input": ({"adapt": "batch-norm", "paths": ["-"]}, "reads the images twice"),
    "a cluster": ({"adapt": "tent", "launcher": "ray", "out": "v.csv"}, "adapt: is computed by one process"),
    "views on a cluster": ({"tta": "flips", "launcher": "ray", "out": "v.csv"}, "tta: is computed by one process"),
    "a rate for nothing": ({"adapt_rate": 0.1}, "adapt_rate: belongs to --adapt tent"),
}


@pytest.mark.parametrize(("values", "message"), BAD_EVALUATE.values(), ids=BAD_EVALUATE)
def test_evaluate_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_command(EvaluateSettings, {"run": "r", **values})
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(("values", "message"), BAD_PREDICT.values(), ids=BAD_PREDICT)
def test_predict_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_command(PredictSettings, {"model": "m", "paths": ["p"], **values})
    assert message in str(caught.value)


def test_options_are_read() -> None:
    assert check_command(PredictSettings, {"model": "m", "paths": ["p"]}).test_time is None
    assert check_command(EvaluateSettings, {"run": "r"}).test_time is None
    found = check_command(PredictSettings, {"model": "m", "paths": ["p"], "adapt": "tent", "batch": 20})
    assert found.test_time == AtTestTime(adapt="tent", rate=1e-3, batch=20)
    values = {"run": "r", "adapt": "tent", "adapt_rate": 0.01, "adapt_batch": 8, "out": "o"}
    assert check_command(EvaluateSettings, values).test_time == AtTestTime(adapt="tent", rate=0.01, batch=8)
    assert check_command(EvaluateSettings, {"run": "r", "tta": "flips", "out": "o"}).test_time == AtTestTime("flips")


def test_words_say_what_is_looked_at() -> None:
    assert "order and batch size matter" in AtTestTime(adapt="tent").in_words()
    assert "unlabelled images of the measured domain" in AtTestTime(adapt="batch-norm").in_words()
    assert "uses no other image" in AtTestTime(tta="flips").in_words()
    assert [AtTestTime(tta="flips").name, AtTestTime(adapt="tent").name] == ["tta flips", "tent"]
