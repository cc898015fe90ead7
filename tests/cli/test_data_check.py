"""``dmg data check`` as a user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domain_masks.cli import main
from trees_of_images import clean, cut, save


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return clean(tmp_path / "animals")


def test_status_is_0_without_errors_and_1_with_them(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "animals/"]) == 0
    assert "no problems found" in capsys.readouterr().out
    save(tree / "art" / "dog" / "small.png", 900, side=8)
    assert main(["data", "check", "animals/"]) == 0
    assert "WARNING  1 image with a side" in capsys.readouterr().out
    cut(tree / "art" / "dog" / "1.jpg")
    assert main(["data", "check", "animals/"]) == 1
    captured = capsys.readouterr()
    assert "ERROR    1 image cut off" in captured.out
    assert "art/dog/1.jpg" in captured.out
    assert captured.err == ""


def test_everything_is_written_for_machines(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 9, 2):
        cut(tree / "art" / "dog" / f"{number}.jpg")
        cut(tree / "photo" / "dog" / f"{number}.jpg")
    assert main(["data", "check", "animals", "--out", "found.json", "--workers", "0"]) == 1
    assert "and 3 more" in capsys.readouterr().out
    stored = json.loads(Path("found.json").read_text())
    assert [(found["code"], found["count"]) for found in stored["findings"]] == [("truncated", 8)]
    assert main(["data", "check", "animals", "--out", "found.csv", "--all"]) == 1
    assert "more (--all)" not in capsys.readouterr().out
    assert len(Path("found.csv").read_text().splitlines()) == 9


def test_settings_come_from_yaml_too(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("settings.yaml").write_text("dataset: animals\nepochs: 3\n")
    assert main(["data", "check", "--config", "settings.yaml"]) == 0
    assert "animals: 60 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["dataset to check"]),
        (["nowhere/here"], ["nowhere"]),
        (["animls"], ["animls"]),
        (["animals", "--out", "found.txt"], ["found.txt", ".json"]),
        (["animals", "--workers", "-1"], ["workers"]),
        (["animals", "--al"], ["--al", "--all"]),
    ],
)
def test_misuse_is_one_message_and_status_2(
    tree: Path, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dmg: ")
    for word in words:
        assert word in captured.err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--help"]) == 0
    assert "dmg data check" in capsys.readouterr().out.split("example:")[1]


def test_interruption_ends_the_processes_without_tracebacks(tree: Path) -> None:
    first = save(tree / "art" / "dog" / "large.png", 1000, side=1000)
    for number in range(500):
        (tree / "art" / "dog" / f"large {number}.png").hardlink_to(first)
    process = subprocess.Popen(
        [sys.executable, "-m", "domain_masks", "data", "check", "animals", "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system does not tell a process's children")
    while len(children.read_text().split()) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = children.read_text().split()
    # As a terminal does: to the process and its workers alike.
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert len(workers) == 2
    assert process.returncode == 130, err
    assert err == "dmg: interrupted\n"
    assert out == ""
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
