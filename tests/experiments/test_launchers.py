"""Many runs at once: on this machine, in one folder with others, and what becomes of those whose process is lost."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assorted_images import odd_images
from domain_masks.data import examine, load_folder
from domain_masks.deploy.predicting.shards import ShardWork
from domain_masks.errors import InputError
from domain_masks.experiments import execute_plan
from domain_masks.experiments.launchers import local
from domain_masks.experiments.launchers.base import Job
from domain_masks.experiments.launchers.local import (
    LocalProcesses,
    _cache_images,
    how_it_ended,
    shared_cores,
    slot_environment,
)
from domain_masks.experiments.launchers.ray import RayCluster
from domain_masks.experiments.launchers.ray_connection import shares
from domain_masks.experiments.launchers.ray_shards import RayShards
from domain_masks.experiments.run_locks import is_locked, locked
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import parse_config
from domain_masks.training.defaults import resolve
from experiments.deadly import DeadlyOpener
from reporters import RecordingReporter

TESTS = Path(__file__).parents[1]


def models(folder: Path) -> dict[str, str]:
    """Return run -> hash of its weights, for every run below a folder."""
    return {
        str(path.parent.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("model.safetensors"))
    }


def test_cores_and_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = [slot_environment(number, 3, 8, ["2", "GPU-abc"]) for number in range(3)]
    assert [share["OMP_NUM_THREADS"] for share in shared] == ["2", "2", "2"]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shared] == ["2", "GPU-abc", "2"]
    assert slot_environment(0, 4, 2, []) == {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert shared_cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert shared_cores() >= 1


def test_a_cluster_is_shared_out() -> None:
    assert shares([8, 8, 0], 0, None) == (shares([8, 8], 0, 2)[0], 2)
    assert (shares([8, 8], 0, None)[0].cores, shares([8, 8], 0, 16)) == (8, (shares([1, 1], 0, 2)[0], 16))
    one_each, most = shares([16, 16], 4, None)
    assert (one_each.cores, one_each.gpus, most) == (8, 1.0, 4)
    assert shares([16], 2, 8)[0].gpus == 0.25
    with pytest.raises(InputError, match="--num-cpus"):
        shares([0, 0.5], 0, None)


def test_images_are_decoded_once_before_the_processes_start(tmp_path: Path) -> None:
    files = examine(load_folder(odd_images(tmp_path / "images")), 0, ConsoleReporter(quiet=True)).dataset
    base = {"dataset": "folder", "target": files.domains[0], "backbone": "small", "size": 32, "device": "cpu"}
    changes: tuple[dict[str, Any], ...] = (
        {"cache": "none"},
        {"cache": "disk"},
        {"cache": "disk", "seed": 1},
        {"cache": "device", "target": files.domains[1]},
        {"cache": "disk", "size": 24},
        {"cache": "memory", "size": 28},
        {"cache": "disk", "size": 20, "value_range": "dataset"},
    )
    configs = [resolve(parse_config(base | changed), files) for changed in changes]
    jobs = [Job(str(number), "", config, tmp_path, tmp_path) for number, config in enumerate(configs)]
    words = RecordingReporter()
    _cache_images(jobs, files, words)
    # Two sizes: no image is decoded for a run without this cache, and none for values of a range that is not known yet.
    assert len([line for line in words.lines if line.startswith("caching")]) == 2
    words.lines.clear()
    _cache_images(jobs, files, words)
    assert not [line for line in words.lines if line.startswith("caching")]


def test_each_process_has_its_share_of_cores_when_images_are_decoded(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Any] = []

    class Started:
        def __init__(self, environment: dict[str, str], _dataset: Any) -> None:
            events.append(environment)

        def begin(self, *_: Any) -> None:
            raise RuntimeError("begun")

        def close(self) -> None:
            pass

    monkeypatch.setattr(local, "_cache_images", lambda *_: events.append("decoded"))
    monkeypatch.setattr(local, "_Worker", Started)
    monkeypatch.setattr(local, "_stop", lambda *_: None)
    monkeypatch.setattr(local, "cores", lambda: 16)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    jobs = [Job(name, name, parse_config({"dataset": "digits"}), tmp_path, tmp_path) for name in "ab"]
    with pytest.raises(RuntimeError, match="begun"):
        list(LocalProcesses(8, uses_gpus=False).launch(jobs, data, RecordingReporter()))
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "DMG_CORES": "8"}
    assert events == ["decoded", one, one]


def test_how_many_processes_read_images_is_up_to_the_process_that_executes_a_run(plan: Any, tmp_path: Path) -> None:
    lists: dict[str, Any] = {"methods": ["aggregate"], "targets": ["dots"]}
    for given in (None, 0, 3):
        (planned,) = plan(tmp_path / str(given), workers=given, **lists)
        assert planned.config.workers == given


def test_how_a_process_ended_is_said() -> None:
    assert "memory" in how_it_ended(-signal.SIGKILL)
    assert "SIGSEGV" in how_it_ended(-signal.SIGSEGV)
    assert "status 3" in how_it_ended(3)


@pytest.mark.timeout(600)
def test_a_script_that_its_own_processes_would_execute_again_is_one_error(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    call = 'dm.benchmark(dataset="digits", methods=["aggregate"], targets=["ink"], seeds=[0, 1], fast=True, jobs=2, out="runs")'
    script.write_text(f"import domain_masks as dm\nprint('again')\n{call}\n")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "domain_masks.errors.InputError: a process for runs ended with status 1 before"
    )
    assert 'below `if __name__ == "__main__":`, or leave out jobs' in done.stderr.splitlines()[-1]
    assert "InputError: dm.benchmark is called while a process is started that imports this file" in done.stderr
    assert "failed: " not in done.stdout
    assert not list((tmp_path / "runs").rglob("failed.json"))


def test_a_claim_is_one_processs(tmp_path: Path) -> None:
    with locked(tmp_path, "key") as mine:
        assert mine
        assert is_locked(tmp_path, "key")
        assert not is_locked(tmp_path, "other")
        with locked(tmp_path, "key") as also_mine:
            assert not also_mine
    assert not is_locked(tmp_path, "key")


@pytest.mark.slow
def test_processes_share_the_runs_and_one_that_is_killed_fails_its_run_alone(
    plan: Any, data: Any, tmp_path: Path
) -> None:
    deadly = replace(data, open_image=DeadlyOpener(data.open_image.pixels, tmp_path / "trigger"))
    (tmp_path / "trigger").touch()
    words = RecordingReporter()
    lists = {"targets": ["dots", "plain"], "methods": ["aggregate"], "seeds": [0, 1]}
    runs = plan(tmp_path / "all", **lists)
    outcome = execute_plan(runs, deadly, words, LocalProcesses(2, uses_gpus=False))
    ((name, message),) = outcome.failed.items()
    assert "SIGKILL" in message
    assert json.loads((tmp_path / "all" / name / "failed.json").read_text())["kind"] == "ProcessLost"
    assert len(outcome.results) == 3
    # Which run is killed is up to whoever opens an image first; every other one says how far it is.
    done = [run.name for run in runs if run.name != name]
    assert all(any(line.startswith(f"{other}: epoch 1/1") for line in words.lines) for other in done)
    again = execute_plan(plan(tmp_path / "all", **lists), deadly, words, LocalProcesses(2, uses_gpus=False))
    assert (len(again.results), again.failed) == (4, {})
    alone = execute_plan(plan(tmp_path / "alone", **lists), data, ConsoleReporter(quiet=True))
    assert [result.out_of_domain for result in alone.results] == [result.out_of_domain for result in again.results]


def script(path: str, *arguments: str) -> Any:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(TESTS / "experiments" / path), *arguments],
        capture_output=True, text=True, timeout=900, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_two_benchmarks_in_one_folder_do_each_run_once(tmp_path: Path) -> None:
    found = script("side_by_side.py", str(tmp_path))
    both, killed = found["side_by_side"], found["one_is_killed"]
    assert both["statuses"] == [0, 0], both["logs"]
    assert sum(both["begun"]) == 4, both["logs"]
    assert min(both["begun"]) >= 1, "both have work"
    assert both["tables"] == [2, 2]
    assert models(tmp_path / "shared") == models(tmp_path / "alone")
    assert (killed["status"], killed["epochs"]) == (0, 12), killed["said"]
    assert "going on" in killed["said"] or "epoch  1/12" not in killed["said"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_several_at_once_are_interrupted_and_go_on(number: int, status: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "domain_masks", "benchmark", "--methods", "dmg", "aggregate", "--targets", "ink"]
    command += ["--epochs", "40", "--device", "cpu", "--jobs", "2", "--out", str(tmp_path / "runs")]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "DMG_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    deadline = time.monotonic() + 200
    while len(list((tmp_path / "runs").glob("*/ink/seed-0/checkpoints/last.ckpt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    # As a terminal does, to all of them.
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=100)
    assert process.returncode == status, said
    assert "the same command resumes" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert said.count("last.ckpt is written") == 2, said
    assert not list((tmp_path / "runs").rglob("results.json"))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs").rglob("results.json"))) == 2


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_a_cluster_of_which_a_node_is_lost_does_every_run_once(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: the extra `ray`")
    seen = script("cluster.py", str(tmp_path))
    assert (seen["alone"], seen["status"]) == (0, 0)
    assert seen["killed"]
    assert seen["unfinished"] == 2, "one of them on the node that was killed"
    assert models(tmp_path / "cluster") == models(tmp_path / "alone")
    assert len(models(tmp_path / "alone")) == 4
    assert not list((tmp_path / "cluster").rglob("failed.json"))


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_a_cluster_of_which_a_node_is_lost_predicts_what_one_process_does(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: the extra `ray`")
    seen = script("predicting_cluster.py", str(tmp_path))
    assert (seen["trained"], seen["alone"], seen["status"]) == (0, 1, 1)
    assert seen["finished"] < 25, "the node is killed while there is work"
    assert (tmp_path / "cluster.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert (tmp_path / "cluster-bad.csv").read_bytes() == (tmp_path / "alone-bad.csv").read_bytes()
    assert len((tmp_path / "alone.csv").read_text().splitlines()) == 1201
    assert not (tmp_path / "cluster.csv.shards").exists()


def test_ray_that_is_missing_or_does_not_answer_is_one_message(
    plan: Any, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"domain-masks\[ray\]"):
        execute_plan(plan(targets=["dots"]), data, ConsoleReporter(quiet=True), RayCluster())
    work = ShardWork("model", "content", "predictions", 1, ".csv", 1, 0, "cpu", str(Path.cwd()))
    with pytest.raises(InputError, match=r"domain-masks\[ray\]"):
        list(RayShards("auto", None, ConsoleReporter(quiet=True)).launch(work, []))
