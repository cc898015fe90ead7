"""Shards joined are what one process writes; finished ones are kept, and no other than the right ones are used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain_masks.cli.predict_cluster import predict_in_shards, shard_work
from domain_masks.deploy import Model, Unreadable
from domain_masks.deploy.predicting.image_paths import find_images
from domain_masks.deploy.predicting.prediction_writers import PARTS, problems_to_file, rows_to_file
from domain_masks.deploy.predicting.shards import (
    Shard,
    ShardWork,
    clear,
    compute_in_turn,
    compute_shard,
    finish,
    join,
    shards,
)
from domain_masks.errors import InputError
from domain_masks.progress import ConsoleReporter
from domain_masks.settings.predict import PredictSettings

QUIET = ConsoleReporter(quiet=True)


@pytest.fixture
def photos(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | Unreadable]:
    """Twenty images and three that are none, by relative paths."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number, path in enumerate(sorted(images.rglob("*.png"))[:20]):
        shutil.copy(path, f"photos/{number:02d}.png")
    Path("photos/05-empty.png").touch()
    Path("photos/new\nline.png").write_bytes(Path("photos/03.png").read_bytes())
    return list(find_images(["photos", "gone.png", "none*"]))


class Counting:
    """Computes shards in this process and counts them; stops after ``most``."""

    def __init__(self, most: int = 99) -> None:
        self.done: list[int] = []
        self.most = most

    def __call__(self, work: ShardWork, pending: Iterable[Shard]) -> Iterator[Shard]:
        for shard in compute_in_turn(work, pending):
            self.done.append(int(shard.file.name[:8]))
            yield shard
            if len(self.done) == self.most:
                raise KeyboardInterrupt


def settings(model: Path, **changes: Any) -> PredictSettings:
    values = {"model": str(model), "paths": ["photos"], "out": Path("a.csv"), "errors": Path("bad.csv"), "shard": 6}
    return PredictSettings.model_validate({**values, "launcher": "ray", "device": "cpu", **changes})


def predicted(model: Model, folder: Path, items: list[str | Unreadable], launch: Counting, **changes: Any) -> int:
    """Predict in shards of six; returns how many rows there are."""
    chosen = settings(folder, **changes)
    assert chosen.out is not None
    work = shard_work(chosen, chosen.out, folder, min(chosen.top or 5, len(model.classes)))
    return predict_in_shards(model, work, chosen, (iter(items), len(items)), QUIET, launch)[0]


@pytest.mark.parametrize("ending", sorted(PARTS))
def test_rows_and_problems_are_those_of_one_process(
    model: Model, run_folder: Path, photos: list[str | Unreadable], ending: str
) -> None:
    alone, together = Path(f"alone.{ending[1:]}"), Path(f"together.{ending[1:]}")
    with problems_to_file(Path("alone-bad.csv")) as problems, rows_to_file(alone, 2, model.sources) as rows:
        for prediction in model.stream(photos, top=2, batch=3, unreadable=problems.add):
            rows.add(prediction)
    count = predicted(model, run_folder, photos, Counting(), out=together, top=2, batch=3)
    assert count == 21
    assert problems.count == 3
    assert together.read_bytes() == alone.read_bytes()
    assert Path("bad.csv").read_bytes() == Path("alone-bad.csv").read_bytes()
    assert not list(Path().glob("*.shards"))


def test_finished_shards_are_kept(model: Model, run_folder: Path, photos: list[str | Unreadable]) -> None:
    stopped = Counting(most=2)
    with pytest.raises(KeyboardInterrupt) as interruption:
        predicted(model, run_folder, photos, stopped)
    assert "a.csv.shards; the same command resumes" in interruption.value.__notes__[0]
    assert not Path("a.csv").exists()
    rest = Counting()
    assert predicted(model, run_folder, photos, rest) == 21
    assert (stopped.done, rest.done) == ([0, 1], [2, 3])


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({}, []),
        ({"batch": 5, "workers": 1}, []),
        ({"ensemble": "masks"}, [0, 1, 2, 3]),
        ({"top": 1}, [0, 1, 2, 3]),
        ({"out": Path("a.jsonl")}, [0, 1, 2, 3]),
        ({"image": "photos/09.png"}, [1]),
        ({"removed": "photos/19.png"}, [3]),
    ],
)
def test_shards_are_used_for_the_same_images_and_settings_alone(
    model: Model, run_folder: Path, photos: list[str | Unreadable], change: dict[str, Any], again: list[int]
) -> None:
    def work(**changes: Any) -> ShardWork:
        chosen = settings(run_folder, **{"top": 2, "batch": 3, "workers": 0, **changes})
        assert chosen.out is not None
        return shard_work(chosen, chosen.out, run_folder, chosen.top or 5)

    folder = Path("kept").absolute()
    list(compute_in_turn(work(), shards(photos, 6, work(), folder)))
    settings_changed = dict(change)
    if image := settings_changed.pop("image", None):
        Path(image).write_bytes(Path("photos/00.png").read_bytes() + b"more")
    if removed := settings_changed.pop("removed", None):
        photos.remove(removed)
    computed = Counting()
    files: list[Path] = []
    changed = work(**settings_changed)
    every = list(finish(changed, shards(photos, 6, changed, folder), computed, files))
    assert computed.done == again
    assert sorted(shard.file for shard in every) == files
    assert all(file.is_file() for file in files)
    clear(folder)
    assert not list(folder.iterdir())


def test_another_model_on_a_node_is_refused(model: Model, run_folder: Path, photos: list[str | Unreadable]) -> None:
    work = ShardWork(str(run_folder), "other", "predictions", 2, ".csv", 4, 0, "cpu", str(Path.cwd()))
    (shard, *_) = shards(photos, 6, work, Path("kept"))
    with pytest.raises(InputError, match="same files on all nodes"):
        compute_shard(work, shard)
    with pytest.raises(InputError, match="same folders on all nodes"):
        compute_shard(replace(work, folder="/nowhere/at/all"), shard)
    assert not shard.is_finished


def test_two_commands_do_not_compute_the_same_shards(
    model: Model, run_folder: Path, photos: list[str | Unreadable]
) -> None:
    class Nested(Counting):
        def __call__(self, work: ShardWork, pending: Iterable[Shard]) -> Iterator[Shard]:
            with pytest.raises(InputError, match="another process"):
                predicted(model, run_folder, photos, Counting())
            return super().__call__(work, pending)

    assert predicted(model, run_folder, photos, Nested()) == 21


def test_joining_needs_no_memory_for_the_rows(tmp_path: Path) -> None:
    files = []
    for number in range(3):
        files.append(tmp_path / str(number))
        head = json.dumps({"count": 2, "problems": [["gone.png", "why"]]})
        files[-1].write_text(f'{head}\n{{"path": "{number}"}}\n{{"path": "also {number}"}}\n')
    with rows_to_file(tmp_path / "a.json", 1, ()) as rows, problems_to_file(None) as problems:
        assert join(iter(files), rows, problems) == 6
    assert [one["path"] for one in json.loads((tmp_path / "a.json").read_text())] == [
        "0", "also 0", "1", "also 1", "2", "also 2"
    ]  # fmt: skip
    assert problems.count == 3
