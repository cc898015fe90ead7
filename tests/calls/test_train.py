"""``dm.train`` and ``dm.load``: one message for a wrong keyword, and the folder that the command would take."""

from __future__ import annotations

from pathlib import Path

import pytest

import domain_masks as dm
from domain_masks.errors import DomainMasksError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_python_has_one_message_for_a_mistyped_keyword(capsys: pytest.CaptureFixture[str]) -> None:
    for given, meant in {"datset": "dataset", "overwite": "overwrite", "learning_rat": "lr", "outt": "out"}.items():
        with pytest.raises(DomainMasksError, match=f"{given}: there is no such setting: did you mean {meant}?"):
            dm.train(**{given: "x"})
    for call in (
        lambda: dm.load("runs/x", devise="cpu"),
        lambda: dm.data.load_dataset("digits", rooot="x"),
        lambda: dm.networks.masked("resnet18", domains=3, class_count=7),
        lambda: dm.train("pacs"),
        dm.load,
    ):
        with pytest.raises(DomainMasksError) as caught:
            call()
        assert isinstance(caught.value, TypeError)
    with pytest.raises(TypeError, match=r"load\(\): 'devise' is not an argument: did you mean 'device'\? It takes"):
        dm.load("runs/x", devise="cpu")


def test_python_needs_no_folder_as_the_command_does() -> None:
    run = dm.train(fast=True, device="cpu", quiet=True, target="ink", num_workers=0)
    assert run.folder.path == Path("runs/digits-ink-dmg-0")
    with pytest.raises(DomainMasksError, match="--out"):
        dm.train(resume=True)
    again = dm.train(output_dir=run.folder.path, resume=True, quiet=True)
    assert again.results.targets == ["ink"]
    with pytest.raises(DomainMasksError, match="out and output: two spellings"):
        dm.train(out="a", output="b")
