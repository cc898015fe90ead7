"""Every file that is written says its schema, and is refused by name where it is of a newer one or of none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import generated
from domain_masks.errors import RunFolderError
from domain_masks.methods.saving import load_model
from domain_masks.records import Analysis, Predictions, Results, RunFolder
from domain_masks.records.config import read_config
from domain_masks.records.yaml_files import parse_yaml, to_yaml
from domain_masks.training import run
from domain_masks.training.checkpoints import load_checkpoint


class Silent:
    def say(self, line: str) -> None: ...

    def track(self, items: Any, total: int, what: str) -> Any:
        yield from items


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("runs") / "run"
    done = run(generated.config(epochs=1), path, dataset=generated.dataset(), reporter=Silent()).folder
    with done.figure("masks.png") as figure:
        figure.write_bytes(b"")
    Analysis(
        mask_by_domain={},
        mask_by_domain_splits={},
        calibration={},
        confusion={},
        per_class={},
        figures=["masks.png"],
        notes=[],
    ).write(done.analysis)
    return done


def yaml_rewritten(path: Path, key: str, schema: Any) -> None:
    path.write_text(to_yaml(changed(parse_yaml(path.read_text(), "f"), key, schema)))


def json_rewritten(path: Path, key: str, schema: Any) -> None:
    path.write_text(json.dumps(changed(json.loads(path.read_text()), key, schema)))


def npz_rewritten(path: Path, key: str, schema: Any) -> None:
    with np.load(path) as archive:
        content = changed(dict(archive), key, schema)
    np.savez(path, **content)


def checkpoint_rewritten(path: Path, key: str, schema: Any) -> None:
    torch.save(changed(torch.load(path, weights_only=True), key, schema), path)


def changed(content: dict[str, Any], key: str, schema: Any) -> dict[str, Any]:
    assert key in content, "the file says its schema"
    return {name: value for name, value in content.items() if name != key} | ({} if schema is None else {key: schema})


FILES: dict[str, tuple[str, Callable[..., None], Callable[[RunFolder], Any], bool]] = {
    "config.yaml": ("schema", yaml_rewritten, lambda run: read_config(run.config), False),
    "results.json": ("schema", json_rewritten, lambda run: Results.read(run.results), True),
    "predictions.npz": ("schema", npz_rewritten, lambda run: Predictions.load(run.predictions), True),
    "analysis.json": ("schema", json_rewritten, lambda run: Analysis.read(run.analysis), True),
    "checkpoints/last.ckpt": ("schema", checkpoint_rewritten, lambda run: load_checkpoint(run.last), True),
    "checkpoints/best.ckpt": ("schema", checkpoint_rewritten, lambda run: load_checkpoint(run.best), True),
    "model.json": ("format", json_rewritten, lambda run: load_model(run.path), True),
    "figures/index.json": ("schema", json_rewritten, lambda run: run.prepare(overwrite=True), False),
}
"""File -> its key, how it is rewritten, what reads it, whether the key must be there."""


NEWEST = {"results.json": 2, "analysis.json": 3, "checkpoints/last.ckpt": 4, "checkpoints/best.ckpt": 4}
"""File -> its newest schema, where that is not 1."""


@pytest.fixture
def copied(folder: RunFolder, tmp_path: Path) -> RunFolder:
    for file in folder.path.rglob("*"):
        if file.is_file():
            target = tmp_path / file.relative_to(folder.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return RunFolder(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_the_schema_of_a_file(name: str, copied: RunFolder) -> None:
    key, rewrite, read, needed = FILES[name]
    newest = NEWEST.get(name, 1)
    path = copied.path / name
    rewrite(path, key, 7)
    with pytest.raises(RunFolderError) as caught:
        read(copied)
    for word in (str(path), "newer version", f"{key} {newest} or older", "got 7", "Update domain-masks"):
        assert word in str(caught.value)
    rewrite(path, key, "x")
    with pytest.raises(RunFolderError, match=f"expected {key} {newest} or older, got 'x'"):
        read(copied)
    rewrite(path, key, None)
    if needed:
        with pytest.raises(RunFolderError, match=f"{Path(name).name}.*(got none|no schema)"):
            read(copied)
    else:
        read(copied)


def test_every_file_of_a_run_is_in_the_table(folder: RunFolder) -> None:
    # What explains itself: a table with a header, weights by name, another program's format; the environment is only written.
    free = {"metrics.csv", "model.safetensors", "environment.json", "figures/masks.png"}
    files = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("tensorboard/")} == {*FILES, *free}
    assert json.loads(folder.environment.read_text())["schema"] == 1
