"""What torchrun's environment variables say of the processes of a run."""

from __future__ import annotations

import pytest

from domain_masks.cli.main import main
from domain_masks.torchrun import Torchrun, is_main_process, torchrun

VARIABLES = ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def set_all(environment: pytest.MonkeyPatch, *values: str) -> None:
    for name, value in zip(VARIABLES, values, strict=True):
        environment.setenv(name, value)


def test_processes_of_several_nodes(environment: pytest.MonkeyPatch) -> None:
    assert torchrun() is None
    assert is_main_process()
    set_all(environment, "none", "6", "2", "3", "1")
    launched = torchrun()
    assert launched == Torchrun(processes=6, on_this_node=2)
    assert launched.nodes == 3
    assert not is_main_process()


def test_the_first_of_another_node_is_not_the_first(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, "none", "2", "1", "1", "0")
    assert not is_main_process()


def test_one_process_is_launched_as_without_torchrun(environment: pytest.MonkeyPatch) -> None:
    set_all(environment, "none", "1", "1", "0", "0")
    assert torchrun() is None


def test_fabrics_own_processes_are_not_torchruns(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WORLD_SIZE", "2")
    environment.setenv("LOCAL_RANK", "1")
    assert torchrun() is None
    assert not is_main_process()


def test_other_commands_are_refused_once(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    set_all(environment, "none", "2", "2", "0", "0")
    assert main(["evaluate", "run"]) == 2
    assert "`dmg evaluate` would do everything as often" in capsys.readouterr().err
    environment.setenv("RANK", "1")
    assert main(["evaluate", "run"]) == 2
    assert capsys.readouterr().err == ""
