"""A command's settings are checked together, with one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain_masks.errors import InputError
from domain_masks.settings.benchmark import BenchmarkOptions, BenchmarkRuns
from domain_masks.settings.command import check_command, validated
from domain_masks.settings.demo import DemoSettings
from domain_masks.settings.predict import PredictSettings
from domain_masks.settings.train import TrainSettings


def test_values_of_text_become_those_of_their_types() -> None:
    settings = check_command(PredictSettings, {"model": "run", "paths": "a.png", "top": "3", "out": "a.CSV"})
    assert (settings.paths, settings.top, settings.out) == (("a.png",), 3, Path("a.CSV"))
    assert (settings.batch, settings.device, settings.workers) == (64, "auto", None)
    with pytest.raises(Exception, match="frozen"):
        settings.top = 4  # type: ignore[misc]


def test_missing_wrong_and_earlier_mistakes_come_together() -> None:
    with pytest.raises(InputError) as caught:
        check_command(DemoSettings, {"model": "", "port": 70000, "prt": 1}, ["--x: there is no such flag"])
    lines = str(caught.value).splitlines()
    assert lines[0] == "4 settings are wrong:"
    assert lines[1].strip() == "--x: there is no such flag"
    for words in ("expected the model", "port: ", "prt: there is no such setting: did you mean port?"):
        assert sum(words in line for line in lines) == 1


@pytest.mark.parametrize(
    ("kind", "values", "line"),
    [
        (PredictSettings, {"model": "m", "paths": "a", "out": "a.csv", "errors": "./a.csv"}, "out and errors: "),
        (DemoSettings, {"model": "m", "examples": "a", "root": "b"}, "examples and root: "),
        (TrainSettings, {"resume": True}, "expected --out"),
        (BenchmarkOptions, {"ray_address": "auto"}, "ray_address: "),
        (BenchmarkRuns, {"search": 3, "sweep": ["lr=1"]}, "sweep: "),
        (BenchmarkRuns, {"search": 3, "select": "oracle"}, "select: "),
    ],
)
def test_what_cannot_be_meant_together_is_a_line(kind: type, values: dict[str, object], line: str) -> None:
    settings, mistakes = validated(kind, values)
    assert settings is not None
    assert len(mistakes) == 1
    assert mistakes[0].startswith(line)
