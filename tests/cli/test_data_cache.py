from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domain_masks.cli import main

SETTINGS = ["--dataset", "./images", "--backbone", "small", "--weights", "none", "--size", "16", "--device", "cpu"]
SETTINGS += ["--freeze_features", "--views", "2", "--workers", "0"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    random = np.random.default_rng(0)
    for domain in "abc":
        for name in "xy":
            for number in range(6):
                path = tmp_path / "images" / domain / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "cache"))
    return tmp_path


def arrays(here: Path) -> dict[str, int]:
    return {str(path.relative_to(here)): path.stat().st_mtime_ns for path in (here / "cache").rglob("domain-*/*.npy")}


def test_what_is_prepared_is_used_by_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "cache", *SETTINGS]) == 0
    assert "36 images" in capsys.readouterr().out
    before = arrays(here)
    assert len(before) == 6
    for target, method in (("a", "dmg"), ("b", "aggregate")):
        flags = [
            "--target",
            target,
            "--method",
            method,
            "--epochs",
            "1",
            "--batch",
            "8",
            "--quiet",
            "--out",
            f"run-{target}",
        ]
        boundary = [] if method == "dmg" else ["--boundary", "classifier.hidden"]
        assert main(["train", *SETTINGS, *flags, *boundary]) == 0
    assert arrays(here) == before


def test_the_cache_is_shown_and_cleared(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "cache", *SETTINGS])
    capsys.readouterr()
    assert main(["data", "cache"]) == 0
    shown = capsys.readouterr().out
    assert str(here / "cache") in shown
    assert "features" in shown
    assert main(["data", "cache", "--clear", "features"]) == 0
    assert arrays(here) == {}
    assert (here / "cache" / "verification").exists()
    assert main(["data", "cache", "--clear"]) == 0
    assert "features: nothing is cached" in capsys.readouterr().out
    assert main(["data", "cache", "--clear", "feature"]) == 2


def test_nothing_is_cleared_where_something_is_wrong(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["data", "cache", *SETTINGS])
    before = arrays(here)
    assert before
    for wrong in (["--quite"], ["--dataset", "./images"], ["extra", "words"], ["--lr", "1"], ["--method.x", "1"]):
        assert main(["data", "cache", "--clear", "features", *wrong]) == 2
        assert wrong[0].partition(".")[0] in capsys.readouterr().err
    assert arrays(here) == before
