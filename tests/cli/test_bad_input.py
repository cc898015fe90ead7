"""Bad input of every kind ends with status 2 and one message that names the thing; and leaves nothing behind."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from cli.bad_input import CASES, FINISHED, IMAGES, Case, images, numeric_cases, numeric_settings
from domain_masks.cli import main


@pytest.fixture(scope="module", autouse=True)
def one_finished_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("finished") / "run"
    assert main(["train", "--fast", "--device", "cpu", "--quiet", "--out", str(out)]) == 0
    FINISHED[:] = [out]


def everything(here: Path) -> dict[str, int]:
    return {str(path.relative_to(here)): path.lstat().st_mtime_ns for path in here.rglob("*") if not path.is_dir()}


def check(case: Case, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(here)
    monkeypatch.delenv("DMG_DATA", raising=False)
    case.make(here)
    before = everything(here)
    capsys.readouterr()
    assert main(case.arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.out == ""
    messages = [line for line in captured.err.splitlines() if line.startswith("dmg: ")]
    assert len(messages) == 1, captured.err
    message = captured.err[captured.err.index("dmg: ") :]
    for word in case.words:
        assert word in message, message
    assert not (here / "it-ran").exists()
    lost = set(before) - set(everything(here))
    assert not lost, f"lost: {lost}"
    added = {name for name in set(everything(here)) - set(before) if not name.endswith(".lock")}
    assert not added, f"left behind: {added}"


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "cuda where there is none" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    if CASES[name].arguments[0] == "demo" and find_spec("gradio") is None:
        pytest.skip("gradio is not installed: the extra `demo`")
    check(CASES[name], tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("name", numeric_cases())
def test_bad_number_is_one_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check(numeric_cases()[name], tmp_path, monkeypatch, capsys)


def test_there_are_enough_cases() -> None:
    assert len(numeric_settings()) >= 20
    assert len(CASES) >= 100


@pytest.mark.parametrize(
    "name", ["Bilder für Ärzte und Pflege", "two\nlines", "n" * 255, "brackets[0]*?", "-dash", "ピクチャ"]
)
def test_names_that_are_odd_but_good(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images(tmp_path / name, classes=("x y", "ä"), domains=("a b", "é", "c'"))
    flags = [
        "--target",
        "a b",
        "--backbone",
        "small",
        "--weights",
        "none",
        "--size",
        "16",
        "--device",
        "cpu",
        "--quiet",
    ]
    out = f"./{name[:200]}-run"
    assert (
        main(
            [
                "train",
                "--dataset",
                f"./{name}",
                *flags,
                "--epochs",
                "1",
                "--batch",
                "8",
                "--freeze_features",
                "--out",
                out,
            ]
        )
        == 0
    )
    assert main(["train", "--resume", "--quiet", "--out", out]) == 0
    assert main(["evaluate", out, "--quiet"]) == 0
    assert main(["data", "check", f"./{name}", "--quiet"]) in (0, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize("what", ["images", "images/b", "images/b/x/0.png", "."])
def test_no_permission_is_one_message(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images(tmp_path / "images")
    (tmp_path / what).chmod(0o500 if what == "." else 0)
    try:
        check(Case(IMAGES, ("run" if what == "." else what.removeprefix("images/"),)), tmp_path, monkeypatch, capsys)
    finally:
        (tmp_path / what).chmod(0o700)
