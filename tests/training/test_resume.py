"""Nothing is lost: runs that are killed, interrupted, or run out of disk space are resumed bit for bit."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import generated
from domain_masks.errors import InputError, RunFolderError
from domain_masks.networks import build_backbone
from domain_masks.progress import ConsoleReporter
from domain_masks.records import MetricsLog, Predictions
from domain_masks.training import evaluate, run
from domain_masks.training.checkpoints import load_checkpoint, save_checkpoint
from domain_masks.training.epoch_loop import EpochLoop
from domain_masks.training.run_progress import Progress
from domain_masks.training.state import RunState

HERE = Path(__file__).parent
FROZEN = {"freeze_features": True, "views": 2}
EVERY_STEP = {"epochs": 2, "checkpoint_every": 1e-9}


def script(name: str, *arguments: str) -> list[dict[str, Any]]:
    """Run a script of this folder on the code that is tested, with one thread; returns the lines of JSON that it prints."""
    process = subprocess.run(
        [sys.executable, str(HERE / name), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]


def check_kills(folder: Path, settings: dict[str, Any], kills: int) -> None:
    (outcome,) = script("killing.py", str(folder), json.dumps({**EVERY_STEP, **settings}), str(kills))
    assert outcome["differing"] == []
    assert outcome["unkilled"] == []
    assert outcome["killed"] == min(kills, outcome["moments"]) > 0


@pytest.mark.timeout(900)
def test_a_killed_run_ends_bit_for_bit_like_an_undisturbed_one(tmp_path: Path) -> None:
    check_kills(tmp_path, {"method": "multi_headed", **FROZEN}, 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"method": "dmg"}, id="images"),
        pytest.param({"method": "multi_headed", **FROZEN}, id="frozen"),
        pytest.param({"method": "dmg", "average": "ema", **FROZEN}, id="average"),
        pytest.param({"method": "dmg", "average": "swa"}, id="average of images"),
        pytest.param({"method": "dmg", "average": "swad", "average_interval": 3}, id="valley"),
        pytest.param({"epochs": 5, "freeze_epochs": 1, "unfreeze_every": 1}, id="unfreezing"),
    ],
)
def test_killed_runs_end_bit_for_bit_like_undisturbed_ones(tmp_path: Path, settings: dict[str, Any]) -> None:
    check_kills(tmp_path, settings, 4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("frozen", [{}, FROZEN], ids=["images", "frozen"])
@pytest.mark.parametrize("method", ["dmg", "aggregate", "multi_headed"])
def test_runs_killed_at_many_moments_end_alike(tmp_path: Path, method: str, frozen: dict[str, Any]) -> None:
    check_kills(tmp_path, {"method": method, "accumulate": 2, "sampling": "balanced", **frozen}, 100)


@pytest.mark.slow
def test_interrupted_commands_say_how_to_go_on_and_end_alike(tmp_path: Path) -> None:
    for outcome in script("interrupting.py", str(tmp_path)):
        expected = 130 if "Ctrl-C" in outcome["way"] else 143
        assert outcome["status"] == expected, outcome
        assert "Resume with: dmg train --resume --out" in outcome["said"], outcome
        assert "Traceback" not in outcome["said"], outcome
        assert "last.ckpt is written" in outcome["said"], outcome
        assert outcome["epochs"] > 0, outcome
        assert outcome["equal"], outcome


class Stopping(ConsoleReporter):
    """Does something to the run after its second epoch."""

    def __init__(self, action: Any) -> None:
        super().__init__(quiet=True)
        self.action = action

    def say(self, line: str) -> None:
        if line.startswith("epoch 2"):
            self.action()


@pytest.fixture
def settings() -> Any:
    return generated.config(epochs=4)


@pytest.fixture
def whole(settings: Any, tmp_path: Path) -> bytes:
    finished = run(settings, tmp_path / "whole", dataset=generated.dataset(), reporter=ConsoleReporter(quiet=True))
    return finished.folder.model.read_bytes()


def resumed(settings: Any, out: Path) -> bytes:
    reporter = ConsoleReporter(quiet=True)
    return run(settings, out, resume=True, dataset=generated.dataset(), reporter=reporter).folder.model.read_bytes()


def test_full_disk_keeps_the_previous_checkpoint(settings: Any, whole: bytes, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (outcome,) = script("full_disk.py", str(out), json.dumps({"epochs": 4}), "10000", "2")
    pattern = r"last.ckpt.*File too large.*checkpoint of the end of epoch 2 is whole.*--resume"
    assert re.search(pattern, outcome["message"])
    assert load_checkpoint(out / "checkpoints" / "last.ckpt")["progress"]["epochs_done"] == 2
    assert not list(out.rglob("*.partial*"))
    assert resumed(settings, out) == whole


def interrupted(settings: Any, out: Path) -> Path:
    """A run that is interrupted after its second epoch."""

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, out, dataset=generated.dataset(), reporter=Stopping(stop))
    return out


class Lines(ConsoleReporter):
    """Keeps what is said, and with how many threads."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []
        self.threads: set[int] = set()

    def say(self, line: str) -> None:
        self.lines.append(line)
        if line.startswith("epoch"):
            self.threads.add(torch.get_num_threads())

    @property
    def conditions(self) -> str:
        return "\n".join(line for line in self.lines if "bit for bit" in line)


def test_an_epoch_that_lacked_only_its_validation_has_no_speed(
    settings: Any, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate = EpochLoop.validate

    def stopped(self: EpochLoop, *arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return validate(self, *arguments)

    monkeypatch.setattr(EpochLoop, "validate", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", dataset=generated.dataset(), reporter=Lines())
    monkeypatch.undo()
    reporter = Lines()
    ended = run(settings, tmp_path / "run", resume=True, dataset=generated.dataset(), reporter=reporter)
    assert ended.folder.model.read_bytes() == whole
    first, *others = (line for line in reporter.lines if line.startswith("epoch"))
    assert re.search(r"\d s so far$", first), "neither a speed nor a time left is known"
    assert "images/s" not in first
    assert all("images/s" in line for line in others)
    rows = MetricsLog(ended.folder.metrics).read()
    assert ["images_per_second" in row for row in rows] == [False] + [True] * len(others)


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_a_run_of_one_thread_goes_on_with_one_where_there_would_be_two(
    settings: Any, whole: bytes, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = interrupted(settings, tmp_path / "run")
    request.getfixturevalue("two_threads")
    reporter = Lines()
    ended = run(settings, out, resume=True, dataset=generated.dataset(), reporter=reporter)
    assert reporter.threads == {1}
    assert torch.get_num_threads() == 2
    assert reporter.conditions == ""
    assert ended.folder.model.read_bytes() == whole
    logits = Predictions.load(ended.folder.predictions).of("predictions")
    evaluate(out, ConsoleReporter(quiet=True), dataset=generated.dataset())
    assert ended.folder.model.read_bytes() == whole
    np.testing.assert_array_equal(Predictions.load(ended.folder.predictions).of("predictions"), logits)


def test_threads_may_be_asked_for_and_what_that_means_is_said(settings: Any, tmp_path: Path) -> None:
    out, reporter = interrupted(settings, tmp_path / "run"), Lines()
    more = settings.model_copy(update={"threads": 2})
    run(more, out, resume=True, dataset=generated.dataset(), reporter=reporter)
    assert reporter.threads == {2}
    assert "threads (1 then 2)" in reporter.conditions
    assert reporter.conditions.count("\n") == 0
    assert torch.get_num_threads() == 1


def test_what_else_the_last_bits_depend_on_is_compared_over_all_parts(settings: Any, tmp_path: Path) -> None:
    out = interrupted(settings, tmp_path / "run")
    path = out / "checkpoints" / "last.ckpt"
    state = load_checkpoint(path)
    (part,) = state["conditions"]
    assert {"threads", "processes", "device", "processor", "deterministic algorithms", "torch"} <= set(part)
    elsewhere = [part, {**part, "torch": "1.0", "processes": 2, "MKL_CBWR": "AVX2"}]
    save_checkpoint(path, {**state, "conditions": elsewhere})
    shutil.copytree(out, tmp_path / "copy")
    reporter = Lines()
    run(settings, out, resume=True, dataset=generated.dataset(), reporter=reporter)
    assert f"torch ({torch.__version__} then 1.0 then {torch.__version__})" in reporter.conditions
    assert "processes (1 then 2 then 1)" in reporter.conditions
    assert "MKL_CBWR (none then AVX2 then none)" in reporter.conditions
    assert len(load_checkpoint(path)["conditions"]) == 2
    save_checkpoint(tmp_path / "copy" / "checkpoints" / "last.ckpt", {**state, "conditions": None})
    older = Lines()
    run(settings, tmp_path / "copy", resume=True, dataset=generated.dataset(), reporter=older)
    assert "did not record its threads" in older.conditions


def test_read_only_disk_keeps_the_previous_checkpoint(
    settings: Any, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, opened = tmp_path / "run", os.open

    def refuse(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_CREAT and str(path).startswith(str(out)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *arguments, **options)

    reporter = Stopping(lambda: monkeypatch.setattr(os, "open", refuse))
    with pytest.raises(RunFolderError, match=r"Read-only.*end of epoch 2 is whole.*--resume"):
        run(settings, out, dataset=generated.dataset(), reporter=reporter)
    monkeypatch.setattr(os, "open", opened)
    assert resumed(settings, out) == whole


def test_vanished_folder_is_not_made_anew(settings: Any, whole: bytes, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(RunFolderError, match=r"has vanished.*checkpoint of the end of epoch 2 is whole.*--resume"):
        run(settings, out, dataset=generated.dataset(), reporter=Stopping(lambda: out.rename(tmp_path / "moved")))
    assert not out.exists()
    assert resumed(settings, tmp_path / "moved") == whole


def test_best_checkpoint_that_was_not_written_is_made_from_the_last(
    settings: Any, whole: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "run"

    def stop() -> None:
        best, last = out / "checkpoints" / "best.ckpt", load_checkpoint(out / "checkpoints" / "last.ckpt")
        last["progress"] |= {"best_epoch": 2}
        save_checkpoint(out / "checkpoints" / "last.ckpt", last)
        best.unlink()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, out, dataset=generated.dataset(), reporter=Stopping(stop))
    shutil.copytree(out, tmp_path / "copy")
    resumed(settings, out)
    assert load_checkpoint(out / "checkpoints" / "best.ckpt")["epoch"] >= 2


def test_checkpoints_of_the_older_schema_are_gone_on_from(settings: Any, whole: bytes, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def stop() -> None:
        path = out / "checkpoints" / "last.ckpt"
        state = load_checkpoint(path)
        for name in ("batches_done", "sums", "rows"):
            del state["progress"][name]
        for name in ("checkpoint_every", "init_from", "learn", "class_weights", "deterministic", "verify", "skip_bad"):
            del state["config"][name]
        del state["buffers"], state["facts"]
        state["progress"]["best_epoch"] -= 1
        save_checkpoint(path, {**state, "schema": 1})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, out, dataset=generated.dataset(), reporter=Stopping(stop))
    assert torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["schema"] == 1
    assert resumed(settings, out) == whole


def test_progress_says_its_place() -> None:
    assert Progress().place == "the beginning"
    assert Progress(epochs_done=2).place == "the end of epoch 2"
    assert Progress(epochs_done=2, batches_done=5).place == "batch 5 of epoch 3"


def test_broken_weights_are_never_saved(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from domain_masks.errors import DivergedError  # noqa: PLC0415

    save = RunState.save

    def poison(self: RunState, progress: Progress, best: bool = False) -> None:
        if progress.epochs_done == 2:
            next(self.method.parameters()).data[0] = float("inf")
        save(self, progress, best)

    monkeypatch.setattr(RunState, "save", poison)
    with pytest.raises(DivergedError, match=r"weights became NaN or infinite.*end of epoch 1 is whole"):
        run(settings, tmp_path / "run", dataset=generated.dataset(), reporter=ConsoleReporter(quiet=True))
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["progress"]["epochs_done"] == 1


@pytest.mark.slow
def test_several_processes_are_interrupted_together_and_go_on_alike(tmp_path: Path) -> None:
    base = [sys.executable, "-m", "domain_masks", "train"]
    flags = ["--dataset", "digits", "--devices", "2", "--device", "cpu", "--epochs", "4", "--quiet", "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*base, *flags, "whole"], cwd=tmp_path, env=environment, check=True)
    process = subprocess.Popen(
        [*base, *flags, "broken"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "broken" / "metrics.csv").exists():
        time.sleep(0.05)
        assert process.poll() is None
    process.terminate()
    assert "Resume with" in process.communicate()[1]
    assert process.returncode == 143
    subprocess.run([*base, "--resume", "--out", "broken"], cwd=tmp_path, env=environment, check=True)
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert models[0] == models[1]


def test_damaged_features_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "cache"))
    settings = generated.config(epochs=1, **FROZEN)
    reporter = ConsoleReporter(quiet=True)
    first = run(settings, tmp_path / "first", dataset=generated.dataset(), reporter=reporter)
    for number, path in enumerate(sorted((tmp_path / "cache").rglob("*.npy"))):
        path.write_bytes(path.read_bytes()[: 50 + 150 * number])
    second = run(settings, tmp_path / "second", dataset=generated.dataset(), reporter=reporter)
    assert first.folder.model.read_bytes() == second.folder.model.read_bytes()


def test_features_find_no_room(tmp_path: Path) -> None:
    (outcome,) = script("full_disk.py", str(tmp_path / "run"), json.dumps(FROZEN), "3000", "0")
    assert "npy: File too large" in outcome["message"]


def test_cache_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "file"))
    reporter = ConsoleReporter(quiet=True)
    with pytest.raises(InputError, match=r"cannot keep features in .*\$DMG_CACHE"):
        run(generated.config(**FROZEN), tmp_path / "r", dataset=generated.dataset(), reporter=reporter)


def images(root: Path, dataset: Any) -> Path:
    """Write a dataset as a folder."""
    for row, name in enumerate(dataset.ids):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        dataset.open_image(row).save(root / name)
    return root


@pytest.fixture
def interrupted_on_files(tmp_path: Path) -> Any:
    """A run on images and weights in files, interrupted after its second epoch; gives settings and the undisturbed end."""
    torch.save(build_backbone("small", 3).state_dict(), tmp_path / "weights.pth")
    root = images(tmp_path / "images", generated.dataset())
    settings = generated.config(dataset=str(root), weights=str(tmp_path / "weights.pth"), epochs=4)
    whole = run(settings, tmp_path / "whole", reporter=ConsoleReporter(quiet=True)).folder.model.read_bytes()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", reporter=Stopping(stop))
    return settings, whole


def test_images_may_move_and_weights_may_go_between_two_parts_of_a_run(
    interrupted_on_files: Any, tmp_path: Path
) -> None:
    settings, whole = interrupted_on_files
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    (tmp_path / "weights.pth").unlink()
    moved = settings.model_copy(update={"dataset": str(tmp_path / "elsewhere")})
    resumed = run(moved, tmp_path / "run", resume=True, reporter=ConsoleReporter(quiet=True))
    assert resumed.folder.model.read_bytes() == whole
    again = evaluate(tmp_path / "run", ConsoleReporter(quiet=True))
    assert again.results.out_of_domain == resumed.results.out_of_domain


@pytest.mark.parametrize("change", ["added", "removed", "relabelled"])
def test_other_images_are_refused_as_the_division_would_change(
    interrupted_on_files: Any, tmp_path: Path, change: str
) -> None:
    settings, _ = interrupted_on_files
    root = tmp_path / "images"
    if change == "added":
        shutil.copy(root / "dots/red/0.png", root / "dots/red/new.png")
    elif change == "removed":
        (root / "dots/red/0.png").unlink()
    else:
        (root / "dots/red/0.png").rename(root / "dots/blue/moved.png")
    with pytest.raises(RunFolderError, match="no longer those that the run was started with"):
        run(settings, tmp_path / "run", resume=True, reporter=ConsoleReporter(quiet=True))
    with pytest.raises(RunFolderError, match="no longer those that the run was started with"):
        evaluate(tmp_path / "whole", ConsoleReporter(quiet=True))
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


def test_held_out_images_may_be_added(interrupted_on_files: Any, tmp_path: Path) -> None:
    settings, whole = interrupted_on_files
    root = tmp_path / "images"
    shutil.copy(root / "stripes/red/0.png", root / "stripes/red/new.png")
    resumed = run(settings, tmp_path / "run", resume=True, reporter=ConsoleReporter(quiet=True))
    assert resumed.folder.model.read_bytes() == whole
    assert resumed.results.out_of_domain.count == 61


def test_evaluation_does_not_end_an_interrupted_run(interrupted_on_files: Any, tmp_path: Path) -> None:
    settings, whole = interrupted_on_files
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    shown = evaluate(tmp_path / "run", ConsoleReporter(quiet=True))
    assert shown.results.epochs_run == 2
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before
    resumed = run(settings, tmp_path / "run", resume=True, reporter=ConsoleReporter(quiet=True))
    assert resumed.results.epochs_run == 4
    assert resumed.folder.model.read_bytes() == whole


def test_a_run_whose_time_was_over_trains_no_further(tmp_path: Path) -> None:
    settings = generated.config(epochs=9, max_time="0.001s")
    out = tmp_path / "run"
    run(settings, out, dataset=generated.dataset(), reporter=ConsoleReporter(quiet=True)).folder.results.unlink()
    again = run(settings, out, resume=True, dataset=generated.dataset(), reporter=ConsoleReporter(quiet=True))
    assert again.results.epochs_run == 1
    again.folder.results.unlink()
    longer = settings.model_copy(update={"max_time": None, "epochs": 3})
    more = run(longer, out, resume=True, dataset=generated.dataset(), reporter=ConsoleReporter(quiet=True))
    assert more.results.epochs_run == 3


def test_a_signal_while_the_last_state_is_saved_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = RunState.save

    def interrupted(self: RunState, progress: Progress, best: bool = False) -> None:
        signal.raise_signal(signal.SIGINT)
        save(self, progress, best)

    monkeypatch.setattr(RunState, "save", interrupted)
    settings = generated.config(epochs=9, max_time="0.001s")
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", dataset=generated.dataset(), reporter=ConsoleReporter(quiet=True))
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["progress"]["epochs_done"] == 1


@pytest.mark.parametrize("changes", [{"init_from": Path("nowhere")}, {"weights": "none"}])
def test_where_a_run_began_cannot_be_changed(
    interrupted_on_files: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    settings, _ = interrupted_on_files
    with pytest.raises(RunFolderError, match=r"other settings|'nowhere'"):
        run(settings.model_copy(update=changes), tmp_path / "run", resume=True, reporter=ConsoleReporter(quiet=True))


def test_images_that_were_left_out_stay_out(tmp_path: Path) -> None:
    root = images(tmp_path / "images", generated.dataset())
    broken = root / "dots/red/0.png"
    good = broken.read_bytes()
    broken.write_bytes(good[:40])
    settings = generated.config(dataset=str(root), epochs=4, skip_bad=True)
    whole = run(settings, tmp_path / "whole", reporter=ConsoleReporter(quiet=True)).folder.model.read_bytes()

    def stop() -> None:
        broken.write_bytes(good)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", reporter=Stopping(stop))
    resumed = run(settings, tmp_path / "run", resume=True, reporter=ConsoleReporter(quiet=True))
    assert resumed.folder.model.read_bytes() == whole
    again = evaluate(tmp_path / "run", ConsoleReporter(quiet=True))
    assert again.results.in_domain == resumed.results.in_domain


def test_domains_with_similar_names_have_features_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "cache"))
    dataset = replace(generated.dataset(), domains=("x/y", "x_y", ".."))
    settings = generated.config(target="x/y", epochs=1, **FROZEN)
    run(settings, tmp_path / "run", dataset=dataset, reporter=ConsoleReporter(quiet=True))
    (recipe,) = (tmp_path / "cache" / "features").iterdir()
    assert len([path for path in recipe.iterdir() if path.is_dir()]) == 3
