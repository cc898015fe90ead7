"""The command as a user calls it: exit status, one message, and what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain_masks.cli import main
from domain_masks.cli import train as train_module
from domain_masks.cli.data import ACTIONS
from domain_masks.cli.main import COMMANDS


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"dmg {command}" in text.split("example:")[1]
    assert "--config" in text


def test_help_lists_every_command_and_action(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(train_module.__file__).parent
    having_parsers = {path.stem for path in folder.glob("*.py") if "\ndef parser(" in path.read_text()}
    actions = {name.removeprefix("data_") for name in having_parsers if name.startswith("data_")}
    assert set(COMMANDS) == {name for name in having_parsers if not name.startswith("data_")} | {"data"}
    assert set(ACTIONS) == actions
    assert all(action in COMMANDS["data"] for action in ACTIONS)
    for arguments, names in ((["--help"], COMMANDS), (["data", "--help"], ACTIONS)):
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        for name, text in names.items():
            assert sum(line.split() == [name, *text.split()] for line in lines) == 1
        assert max(map(len, lines)) <= 105
    examples = [line.split() for line in lines if line.startswith("  dmg data ")]
    assert [words[2] for words in examples] == list(ACTIONS)
    for action in ACTIONS:
        assert main(["data", action, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"dmg data {action}" in text.split("example:")[1]
        assert "--config" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["trian", "dmg train"]),
        (["train", "--bacth", "3"], ["--bacth", "--batch"]),
        (["train", "--epochs", "0", "--lr", "nan"], ["epochs", "lr", "2 settings"]),
        (["train", "--method", "dgm"], ["dgm", "'dmg'"]),
        (["train", "--method.overlap_wieght", "1"], ["overlap_wieght", "overlap_weight"]),
        (["train", "--method.overlap_weight"], ["--method.overlap_weight"]),
        (["train", "--dataset", "pcas"], ["pcas", "pacs"]),
        (["train", "--target", "inc"], ["inc", "'ink'"]),
        (["train", "--config", "nowhere.yaml"], ["nowhere.yaml"]),
        (["train", "--resume"], ["--out"]),
        (["train", "--resume", "--out", "nowhere"], ["nowhere"]),
        (["train", "--out", "file"], ["file"]),
        (["train", "--max_time", "soon"], ["max_time"]),
        (["evaluate", "nowhere"], ["nowhere"]),
        (["evaluate"], ["RUN"]),
        (["benchmark", "--seeds", "one"], ["seeds", "'one'"]),
        (["benchmark", "--methods", "dgm"], ["dgm"]),
        (["benchmark", "--devices", "2"], ["--devices"]),
        (["data", "lst"], ["lst", "'list'"]),
        (["data", "list", "nowhere/here"], ["nowhere"]),
        (["methods", "dgm"], ["dgm"]),
    ],
)
def test_misuse_is_one_message_and_status_2(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dmg: ")
    assert "Traceback" not in captured.err
    assert captured.out == ""
    for word in words:
        assert word in captured.err


def test_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import domain_masks.cli.methods  # noqa: PLC0415

    def broken(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(domain_masks.cli.methods, "main", broken)
    assert main(["methods"]) == 70
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_methods_and_data_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "dmg"]) == 0
    assert "--method.overlap_weight (default: 0.1)" in capsys.readouterr().out
    assert main(["data", "list"]) == 0
    assert "pacs" in capsys.readouterr().out
    assert main(["data", "list", "digits"]) == 0
    assert "mosaic" in capsys.readouterr().out


def test_verbose_shows_where_an_error_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--epochs", "0", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err
