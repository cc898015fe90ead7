import importlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from domain_masks.masks import overlap_loss, sample_masks
from domain_masks.networks import masked

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
DATA = Path(os.environ.get("DMG_DATA") or Path(__file__).parents[2] / "shared" / "data")
NAMES = (
    *(
        "timing",
        "steps",
        "masks",
        "formats",
        "ensemble",
        "augmenting",
        "loading",
        "predict",
        "folding",
        "start",
        "index",
        "episodes",
        "costs",
    ),
    *("gpu", "run"),
)
CPU = torch.device("cpu")
LINE = re.compile(
    r"  (?P<name>.+?): (?P<median>\S+) \[(?P<lower>\S+)–(?P<upper>\S+)\] of (?P<baseline>.+) \(.+ rounds\)"
)


@pytest.fixture
def module(monkeypatch):
    """Import a benchmark as the script does, from its own folder; nothing stays imported."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def lines_of(output):
    found = [match for line in output.splitlines() if (match := LINE.fullmatch(line))]
    for line in found:
        lower, median, upper = (float(line[part]) for part in ("lower", "median", "upper"))
        assert 0 < lower <= median <= upper
    return [line["name"] for line in found], {line["baseline"] for line in found}


@pytest.mark.slow
def test_smoke_run_prints_every_ratio_with_its_spread_and_baseline(module, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DMG_DATA", str(tmp_path))
    run = module("run")
    assert run.main([*run.BENCHMARKS, *run.NAMED_ONLY, "--fast", "--device", "cpu", "--markdown"]) == 0
    output = capsys.readouterr().out
    names, baselines = lines_of(output)
    assert names.count("mask operations, forward and backward") == names.count("whole DMG training step") == 2
    assert [name for name in names if name.startswith("training step, ")] == [
        f"training step, {formats}" for formats in ("channels last", "bf16", "bf16, channels last")
    ]
    assert "training step in bf16 (mobilenet_v2, 32 px, batch 12)" in names
    if platform.libc_ver()[0] == "glibc":
        assert "training step where freed memory is kept (small, 32 px, batch 12)" in names
    assert "sampling masks in a loop over 64 instances" in names
    assert [name for name in names if name.startswith("overlap loss in a loop")] == [
        f"overlap loss in a loop over the pairs of {domains} domains" for domains in (3, 5, 24)
    ]
    for domains in (3, 5):
        assert names.count(f"prediction ensemble, P = {domains}") == 2
        assert f"its arithmetic, (t_F + {domains} t_T) / (t_F + t_T)" in names
        assert f"loop of {domains} whole passes" in names
    training = "images per second of training from"
    files, cache = (f"{training} files (generated JPEG files)", f"{training} the image cache")
    predicting = "images per second of predicting files (generated JPEG files)"
    assert [name for name in names if name.startswith("images")] == [
        *(f"{files}, {workers}" for workers in ("0 workers", "2 workers")),
        *(
            f"{cache}{where} (generated JPEG files)"
            for where in (", 0 workers", ", 2 workers", " on the device")
            for _ in "ab"
        ),
        *(f"{predicting}, {workers}" for workers in ("0 workers", "2 workers", "2 workers", "2 workers")),
    ]
    augmented = "per CPU second (generated JPEG files, 32 px)"
    assert [name for name in names if name.startswith("training images")] == [
        f"training images decoded, cropped and augmented {augmented}",
        f"training images augmented {augmented}",
        f"training images with RandAugment and erasing {augmented}",
    ]
    assert names.count("peak memory of predicting 200 images") == 1
    assert names.count("a copy of the bare network") == 1
    assert [name for name in names if name.startswith("one mask")] == [
        "one mask, unfolded",
        "one mask, folded",
        "one mask, folded, half of the neurons pruned",
    ]
    assert "one forward pass of the bare network (small, 32 px, batch 8)" in baselines
    table = [line for line in output.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(names)
    assert not any(" ms" in line or "images/s" in line or " MB" in line for line in table)


def test_named_benchmark_runs_alone_on_pacs(module, capsys):
    if not (DATA / "pacs").is_dir():
        pytest.skip("no PACS: set DMG_DATA to its folder's parent")
    assert module("run").main(["loading", "--fast", "--device", "cpu", "--root", str(DATA)]) == 0
    names, _ = lines_of(capsys.readouterr().out)
    assert len(names) == 2 + 2 * 3, "files; the cache and what it holds on the device, each against both baselines"
    assert all("(PACS)" in name for name in names)


def test_missing_dataset_is_misuse(module, tmp_path, capsys):
    assert module("run").main(["loading", "--fast", "--root", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "--markdown"),
        (["speed"], 2, "masks, ensemble, augmenting, loading, predict"),
        (["--seconds", "0"], 2, "above 0"),
    ],
)
def test_script_reads_its_command_line(arguments, status, said):
    result = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == status
    assert said in result.stdout + result.stderr


def test_time_is_divided_among_the_benchmarks_that_are_left(module):
    share_of = module("run").share_of
    assert share_of(90, 9) == pytest.approx(0.8 * 10)
    # What one needs above its share is missing from the others', and never below nothing.
    assert share_of(40, 8) == pytest.approx(0.8 * 5)
    assert share_of(-3, 1) == 0


def test_every_benchmark_can_be_named(module):
    assert all((BENCHMARKS / f"{name}.py").is_file() for name in module("run").BENCHMARKS)


@pytest.mark.slow
def test_episodes_are_compared_with_pytorchs_second_derivatives(module, capsys):
    assert module("run").main(["episodes", "--fast", "--device", "cpu"]) == 0
    names, baselines = lines_of(capsys.readouterr().out)
    assert [name.partition(" (")[0] for name in names] == [
        f"training step of {name}" for name in ("mldg", "masf", "metareg")
    ]
    assert baselines == {"PyTorch's second derivatives"}


@pytest.mark.slow
def test_start_and_index_are_compared_with_what_they_name(module, capsys):
    assert module("run").main(["start", "index", "--fast", "--device", "cpu"]) == 0
    names, baselines = lines_of(capsys.readouterr().out)
    assert names == [
        "CPU seconds of dmg --help",
        "CPU seconds of dmg methods",
        "CPU seconds of indexing 6,000 images",
        "memory of the index of 6,000 images",
        "bytes sent to a worker, of the index of 6,000 images",
    ]
    assert baselines == {"those of import torch, torchvision", "those of torchvision's lists of files"}


def test_calls_are_interleaved_after_the_warm_up(module):
    timing = module("timing")
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = timing.interleave(calls, timing.Budget(0.0, rounds=3, warm_up=1), CPU)
    rounds = ["".join(order[start : start + 2]) for start in range(0, len(order), 2)]
    assert rounds[0] == "AB"
    assert ["".join(sorted(one)) for one in rounds[1:]] == ["AB"] * 3
    assert [len(times) for times in seconds.values()] == [3, 3]


def test_rounds_have_different_orders(module):
    timing = module("timing")
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ABCD"}
    timing.interleave(calls, timing.Budget(0.0, rounds=8, warm_up=0), CPU)
    assert len({"".join(order[start : start + 4]) for start in range(0, len(order), 4)}) > 4


def test_rounds_go_on_until_the_time_is_over(module):
    timing = module("timing")
    seconds = timing.interleave({"A": lambda: None}, timing.Budget(0.05, rounds=2, warm_up=0), CPU)
    assert len(seconds["A"]) > 2


def test_ratios_are_paired_by_round(module):
    timing = module("timing")
    # The ratio of the medians would be 3: a slow moment that falls on both calls of a round is no difference.
    seconds = {"A": [2.0, 20.0, 4.0, 6.0, 8.0], "B": [1.0, 10.0, 2.0, 3.0, 2.0]}
    measurement = timing.compare("A", "B", seconds, "A", "B")
    assert list(measurement.ratios) == [2.0, 2.0, 2.0, 2.0, 4.0]
    assert measurement.quartiles[1] == 2.0
    spread = timing.Measurement("A", "B", [1.0, 2.0, 3.0, 4.0, 9.0], "")
    assert spread.quartiles == (2.0, 3.0, 4.0)


def test_the_bound_holds_the_median_with_its_confidence(module):
    timing = module("timing")

    def bound(count):
        return timing.Measurement("A", "B", [float(number) for number in range(count, 0, -1)], "").bound

    assert bound(4) is None
    assert bound(5) == 5.0
    # Of 30 ratios the twentieth is above the median with a probability of 0.951.
    assert bound(30) == 20.0


def test_arithmetic_counts_the_feature_network_once(module):
    arithmetic = module("ensemble").arithmetic
    assert arithmetic([3.0, 1.0], [1.0, 1.0], domains=5) == [2.0, 3.0]


def test_slow_formulations_compute_the_same(module):
    masks = module("masks")
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    domains = torch.tensor([3, 0, 1, 1, 2])
    noise = torch.rand(5, 6, dtype=torch.float64)
    weights = torch.randn(5, 6, dtype=torch.float64)
    ours, loop = sample_masks(logits, domains, noise), masks.loop_over_instances(logits, domains, noise)
    assert torch.equal(ours, loop)
    for first, second in (
        ((ours * weights).sum(), (loop * weights).sum()),
        (overlap_loss(logits), masks.loop_over_pairs(logits)),
    ):
        torch.testing.assert_close(first, second)
        torch.testing.assert_close(torch.autograd.grad(first, logits), torch.autograd.grad(second, logits))


def test_mask_operations_work_on_what_enters_the_sites(module):
    masks = module("masks")
    network = masked("small", domains=3, classes=7, image_size=32)
    inputs = masks.site_inputs(network.network, network.sites, torch.randn(4, 3, 32, 32))
    assert [tuple(activations.shape) for activations in inputs] == [(4, 256), (4, 128)]
    assert all(activations.requires_grad and activations.is_leaf for activations in inputs)
    assert network.network.training


def test_both_sources_of_images_give_the_same_batches(module, tmp_path):
    loading, data = module("loading"), importlib.import_module("domain_masks.data")
    images = loading.generated(tmp_path, count=6)
    preprocessing = data.default_preprocessing(images.subset.dataset, 16)
    loader = data.TrainingLoader(images.subset, images.sources, preprocessing, data.LoaderSettings(4))
    batches = list(zip(loader, loading.InMemory(loader, preprocessing), strict=True))
    assert len(batches) == 2
    for from_file, from_memory in batches:
        assert torch.equal(from_file.images, from_memory.images)
        assert torch.equal(from_file.labels, from_memory.labels)
        assert torch.equal(from_file.domains, from_memory.domains)
        assert from_file.random == from_memory.random


def test_the_script_for_gpus_measures_a_step_and_says_where_there_is_none(module, tmp_path, capsys):
    gpu = module("gpu")
    assert gpu.main(["speed", "--fast", "--out", str(tmp_path)]) == 0
    records = json.loads((tmp_path / "gpu.json").read_text())
    training = next(one for one in records if one["what"] == "training")
    assert training["images_per_second_dmg"] > 0
    assert training["seconds_at_the_limits"] > 0
    assert [one["what"] for one in records if one["what"].startswith("predicting")] == [
        f"predicting, {way}" for way in ("bare", "every ensemble", "prediction ensemble", "known domain")
    ]
    assert len((tmp_path / "gpu.csv").read_text().splitlines()) == 1 + len(records)
    if not torch.cuda.is_available():
        assert gpu.main(["--out", str(tmp_path)]) == 2
        assert "--fast" in capsys.readouterr().err


def test_the_script_for_gpus_goes_on_where_a_network_cannot_be_measured(module, tmp_path, monkeypatch):
    gpu = module("gpu")
    measure = gpu._speed_of

    def failing(workload, *others):
        yield {"part": "speed", "what": "training"}
        if workload.backbone == "none":
            raise RuntimeError("no compiler")
        yield from measure(workload, *others)

    monkeypatch.setattr(gpu, "_speed_of", failing)
    monkeypatch.setattr(gpu, "FAST_NETWORKS", ("none", "small"))
    assert gpu.main(["speed", "--fast", "--out", str(tmp_path)]) == 1
    records = json.loads((tmp_path / "gpu.json").read_text())
    assert [one["outcome"] for one in records if one["what"] == "stopped"] == ["failed: RuntimeError: no compiler"]
    assert records[-1]["what"] == "predicting, known domain"


@pytest.mark.slow
def test_the_script_for_gpus_resumes_in_deterministic_mode_and_runs_the_protocol(module, tmp_path):
    assert module("gpu").main(["pacs", "modes", "--fast", "--out", str(tmp_path)]) == 0
    outcomes = {one["what"]: one.get("outcome") for one in json.loads((tmp_path / "gpu.json").read_text())}
    assert outcomes["deterministic, dmg resumed bit for bit"] == "equal"
    assert (tmp_path / "runs").is_dir()
