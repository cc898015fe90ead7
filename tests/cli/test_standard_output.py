"""Standard output and error that are closed, or read by nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("closing", ["2>&-", ">&-", "2>&- >&-"])
@pytest.mark.parametrize("words", ["--help", "train --help", "train --epochs 0"])
def test_closed_outputs_give_no_traceback(closing: str, words: str) -> None:
    command = f'"$0" -m domain_masks {words} {closing}'
    done = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "epochs" in words else 0), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_broken_pipe_gives_no_traceback() -> None:
    command = '"$0" -m domain_masks train --help | true; exit ${PIPESTATUS[0]}'
    done = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
