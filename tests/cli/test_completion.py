"""The completion script, as bash uses it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from domain_masks.cli import main
from domain_masks.cli.main import COMMANDS

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
_shtab_dmg 2>/dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / f"completion.{shell}"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    return path


def test_bash_completes_command_flags_words_names_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("bash", tmp_path, capsys)
    (tmp_path / "photos").mkdir()
    (tmp_path / "settings.yaml").touch()

    def candidates(*words: str) -> set[str]:
        done = subprocess.run(
            ["bash", "-c", ASK, "bash", str(path), "dmg", *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        return set(done.stdout.split())

    assert candidates("") >= set(COMMANDS)
    assert candidates("tr") == {"train"}
    assert candidates("train", "--optim") == {"--optimizer"}
    assert candidates("train", "--optimizer", "") == {"adam", "adamw", "sgd"}
    assert candidates("train", "--optimizer", "sgd", "--sched") >= {"--schedule", "--schedule_decay"}
    assert candidates("train", "--method", "ag") == {"aggregate"}
    assert candidates("train", "--method.overlap_w") == {"--method.overlap_weight"}
    assert "--method.NAME" not in candidates("train", "--method")
    assert candidates("train", "--dataset", "p") == {"pacs", "photos"}
    assert candidates("train", "--target", "sk") == {"sketch"}
    assert "settings.yaml" in candidates("train", "--config", "sett")
    assert candidates("benchmark", "--methods", "dmg", "agg") == {"aggregate"}
    assert "list" in candidates("data", "")
    assert candidates("data", "list", "dig") == {"digits"}
    assert candidates("evaluate", "run", "--ensemble", "ma") == {"masks"}
    assert candidates("completion", "") == {"bash", "zsh", "fish"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_that_they_can_read(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script(shell, tmp_path, capsys)
    text = path.read_text(encoding="utf-8")
    assert "dmg" in text
    assert "optimizer" in text
    assert "overlap_weight" in text
    if shutil.which(shell) is None:
        return
    subprocess.run([shell, "-n", str(path)], check=True)


def test_the_script_is_the_same_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert script("bash", tmp_path, capsys).read_bytes() == script("bash", tmp_path, capsys).read_bytes()


def test_an_unknown_shell_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bsh"]) == 2
    assert "'bash'" in capsys.readouterr().err
