"""The flags of every command are those of its model of settings, with help, metavars and headings from the declarations."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from pydantic import BaseModel

from domain_masks.cli.flags import GROUPS, command_parser, read_command
from domain_masks.cli.parser import Parser
from domain_masks.errors import InputError
from domain_masks.records.config import RunConfig
from domain_masks.records.setting_types import flag_of
from domain_masks.settings.benchmark import BenchmarkOptions, BenchmarkRuns
from domain_masks.settings.datasets import CacheSettings, CheckSettings, DownloadCommandSettings, ListSettings
from domain_masks.settings.demo import DemoSettings
from domain_masks.settings.export import ExportSettings
from domain_masks.settings.finished_runs import AnalyzeSettings, EvaluateSettings, ReportSettings
from domain_masks.settings.listings import CompletionSettings, MethodsSettings
from domain_masks.settings.predict import PredictSettings
from domain_masks.settings.push import PushSettings
from domain_masks.settings.train import TrainSettings

MODELS: dict[str, tuple[type[BaseModel], ...]] = {
    "train": (RunConfig, TrainSettings),
    "benchmark": (BenchmarkRuns, RunConfig, BenchmarkOptions),
    "evaluate": (EvaluateSettings,),
    "analyze": (AnalyzeSettings,),
    "report": (ReportSettings,),
    "predict": (PredictSettings,),
    "export": (ExportSettings,),
    "demo": (DemoSettings,),
    "push": (PushSettings,),
    "methods": (MethodsSettings,),
    "completion": (CompletionSettings,),
    "data_list": (ListSettings,),
    "data_check": (CheckSettings,),
    "data_download": (DownloadCommandSettings,),
    "data_cache": (CacheSettings, RunConfig),
}
LEFT_OUT = {"benchmark": {"target", "seed", "method", "devices"}, "data_cache": {"target"}}
OF_EVERY_COMMAND = {"help", "config", "plugin", "quiet", "verbose", "_"}


def parser_of(command: str) -> Parser:
    parser: Parser = importlib.import_module(f"domain_masks.cli.{command}").parser()
    return parser


@pytest.mark.parametrize("command", MODELS)
def test_the_flags_of_a_command_are_the_fields_of_its_models(command: str) -> None:
    flags = {action.dest for action in parser_of(command)._actions} - OF_EVERY_COMMAND
    fields = {name for kind in MODELS[command] for name in kind.model_fields}
    assert flags == fields - LEFT_OUT.get(command, set()) - OF_EVERY_COMMAND


@pytest.mark.parametrize("command", MODELS)
def test_every_setting_is_declared_with_its_help(command: str) -> None:
    for kind in MODELS[command]:
        for name, field in kind.model_fields.items():
            assert field.description, name
            assert flag_of(field).group in ("", *GROUPS), name
            assert not field.is_required() or flag_of(field).missing.startswith("expected"), name
    assert not any("VALUE" in str(action.metavar) for action in parser_of(command)._actions if action.dest != "_")


def test_help_of_train_lists_its_flags_under_headings_with_what_they_take() -> None:
    text = parser_of("train").format_help()
    places = [text.index(f"\n{heading}:\n") for heading in GROUPS if heading != "runs"]
    assert places == sorted(places)
    for flag in (
        "--epochs N",
        "--lr X",
        "--root DIR",
        "--size PX",
        "--batch N|auto",
        "--optimizer adam|sgd",
        "--weights imagenet|none|FILE",
        "--max_time TIME",
        "--init_from RUN",
        "--schedule constant|exponential|inverse|cosine",
        "--value_range LOW,HIGH|dataset",
        "--sites NAME [NAME ...]",
        "--no_verify",
    ):
        assert f"  {flag}" in text, flag
    assert "--no_resume" not in text, "what changes nothing is not shown"
    assert "(default: 64)" in text


def test_flags_win_over_a_yaml_of_a_run_whose_other_settings_are_left_aside(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("dataset: pacs\nroot: there\nepochs: 3\nnum_workers: 2\n")
    _, settings = read_command(parser_of("data_check"), ["--config", str(path), "--root", "here"], CheckSettings)
    assert (settings.dataset, settings.root, settings.workers) == ("pacs", Path("here"), 2)
    path.write_text("dataset: pacs\nrooot: there\n")
    with pytest.raises(InputError, match="rooot: there is no such setting: did you mean root"):
        read_command(parser_of("data_check"), ["--config", str(path)], CheckSettings)


def test_what_is_wrong_and_what_is_missing_comes_in_one_message() -> None:
    with pytest.raises(InputError) as caught:
        read_command(parser_of("export"), ["--opset", "x", "--half", "--formt=pt2"], ExportSettings)
    message = str(caught.value)
    assert message.startswith("3 settings are wrong:")
    assert all(word in message for word in ("expected the model: a run folder", "opset: ", "--format?"))


def test_a_negation_overrides_a_yaml(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("model: run\nhalf: true\n")
    assert read_command(parser_of("export"), ["--config", str(path)], ExportSettings)[1].half
    assert not read_command(parser_of("export"), ["--config", str(path), "--no_half"], ExportSettings)[1].half
    _, settings = read_command(parser_of("predict"), ["run", "-", "-0"], PredictSettings)
    assert settings.null


def test_a_model_becomes_a_parser() -> None:
    parser = command_parser("try", "Tries.", "dmg try", TrainSettings)
    assert parser.parse(["--out", "x", "--no-resume"]).resume is False
