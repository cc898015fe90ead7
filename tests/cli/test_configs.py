"""Every file in configs/ goes through the command line that its first line names, and names what there is."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import domain_masks.data
from domain_masks.cli import main
from domain_masks.data import AUGMENTATIONS, ImageDataset, load_digits_dataset
from domain_masks.experiments import PlannedRun, estimate, leave_one_out, plan
from domain_masks.methods import METHODS
from domain_masks.methods.settings import with_settings
from domain_masks.networks import build_backbone, layout, preset_names
from domain_masks.records.config import RunConfig, parse_config, read_config
from domain_masks.report import protocol_match
from domain_masks.settings.benchmark import BENCHMARK_LISTS
from domain_masks.settings.benchmark_lists import check_benchmark

REPOSITORY = Path(__file__).parents[2]
CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))
PAPER = REPOSITORY / "configs" / "paper"
DOMAINS = {
    "pacs": ("art_painting", "cartoon", "photo", "sketch"),
    "domainnet": ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
}
PUBLISHED = [f"{dataset}-{backbone}" for dataset in DOMAINS for backbone in ("alexnet", "resnet18", "resnet50")]
SETTINGS = {
    "pacs": {"weight_decay": 1e-5, "schedule": "exponential", "schedule_decay": 0.99, "head_initialisation": "default"},
    "domainnet": {
        "weight_decay": 0.0,
        "schedule": "inverse",
        "schedule_gamma": 1e-4,
        "schedule_power": 0.75,
        "head_initialisation": "normal",
    },
}

each = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def parsed(path: Path) -> tuple[RunConfig, dict[str, list[str]]]:
    """Return the settings of one run, and the lists of a benchmark, as ``dmg benchmark`` takes them apart."""
    values = read_config(path)
    lists = {name: values.pop(name) for name in BENCHMARK_LISTS if name in values}
    return parse_config(values), lists


def command(path: Path) -> list[str]:
    return shlex.split(path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# "))


def stand_in(name: str) -> ImageDataset:
    """A dataset with the name and the domains of a large one, and an image of each."""
    if name == "digits":
        return load_digits_dataset()
    domains = DOMAINS[name]
    return ImageDataset(
        name=name,
        classes=("one",),
        domains=domains,
        ids=tuple(f"{domain}/one/0.png" for domain in domains),
        labels=np.zeros(len(domains), dtype=np.int64),
        domain_indices=np.arange(len(domains)),
        # Lists without a test list, as PACS's.
        splits=np.array(["train"] * len(domains)),
        open_image=lambda row: Image.new("RGB", (8, 8)),
        fingerprint=name,
    )


def tables_of(name: str) -> Path:
    """Return the file of the tables of one dataset and backbone, whose runs the figures share."""
    (path,) = PAPER.glob(f"tables-*-{name}.yaml")
    return path


def test_every_published_experiment_has_its_file() -> None:
    assert {"digits", "pacs-resnet18-released-code"} <= {path.stem for path in CONFIGS}
    assert all(tables_of(name) in CONFIGS for name in PUBLISHED)


@each
def test_the_settings_parse_and_name_what_there_is(path: Path) -> None:
    config, lists = parsed(path)
    assert lists["methods"]
    assert set(lists["methods"]) <= set(METHODS)
    with_settings(config)
    assert config.augmentation in AUGMENTATIONS
    with torch.device("meta"):
        network = build_backbone(str(config.backbone), 7)
    assert set(config.sites) <= set(preset_names(network))
    assert layout(network, config.sites, config.boundary).sites


@each
def test_the_first_line_is_the_command_that_runs_the_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(path)
    assert words[:4] == ["dmg", "benchmark", "--config", path.relative_to(REPOSITORY).as_posix()]
    config, lists = parsed(path)
    dataset = stand_in(config.dataset)
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(domain_masks.data, "load_dataset", lambda name, root: dataset)
    records = domain_masks.data.DATASETS
    monkeypatch.setitem(records, config.dataset, records.get(config.dataset, records["pacs"]))
    monkeypatch.setattr(estimate, "estimate", lambda *_: estimate.Estimate())
    assert main([*words[1:], "--out", str(tmp_path), "--dry_run"]) == 0
    settings = sum(len(variant.get("methods", lists["methods"])) for variant in lists.get("variants", [{}]))
    for values in lists.get("sweep", {}).values():
        settings *= len(values)
    runs = len(lists.get("targets", dataset.domains)) * settings * len(lists["seeds"])
    assert f"{runs} runs: {runs} pending" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(PAPER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_piece_of_the_paper_has_the_settings_of_its_table(path: Path) -> None:
    """What several pieces need is one run: they differ from the whole benchmark in what is varied alone."""
    dataset, backbone = path.stem.split("-")[-2:]
    whole, _ = parsed(tables_of(f"{dataset}-{backbone}"))
    config, lists = parsed(path)
    assert config.model_copy(update={"method": whole.method}) == whole
    assert command(path)[-1] == f"runs/paper/{dataset}-{backbone}"
    weights = [0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1]
    if "figure-6" in path.stem:
        assert (config.method.to_dict(), lists["sweep"]) == (
            {"name": "dmg", "overlap_weight": 0},
            {"method.sparsity_weight": weights},
        )
    else:
        assert config.method == whole.method
    if "figures-3-5" in path.stem:
        assert lists["sweep"] == {"method.overlap_weight": weights}


EVIDENCE = sorted((REPOSITORY / "configs" / "evidence").glob("*.yaml"))
VARIED = {"method", "lr_masks", "epochs"}


@pytest.mark.parametrize("path", EVIDENCE, ids=lambda path: path.stem)
def test_experiments_on_one_question_share_their_protocol_and_their_runs(path: Path, tmp_path: Path) -> None:
    """In one folder each run is made once, and differs from those of the table in what its experiment varies alone."""
    table, _ = parsed(EVIDENCE[0].with_name("table-2.yaml"))
    config, _ = parsed(path)
    assert command(path)[-1] == "runs/evidence"
    assert config.model_dump(exclude=VARIED) == table.model_dump(exclude=VARIED)
    assert config.epochs == (20 if path.stem == "longer-aggregate" else 10)


def test_the_defaults_of_an_experiment_are_runs_of_the_table(tmp_path: Path) -> None:
    keys = {}
    for path in EVIDENCE:
        config, lists = parsed(path)
        settings, checked = check_benchmark(config.model_dump(exclude_unset=True), lists)
        keys[path.stem] = {run.key for run in plan(settings, stand_in("pacs"), checked, tmp_path)}
    shared = {name: len(keys["table-2"] & found) for name, found in keys.items() if name != "table-2"}
    assert shared == {
        "masks-grid": 4,
        "averaging": 8,
        "recalibrate-bn": 8,
        "ablations": 4,
        "rivals": 0,
        "longer-aggregate": 0,
    }
    assert len(keys["masks-grid"] & keys["ablations"]) == 8, "the rate of the masks with and without overlap loss"


def test_experiments_on_frozen_features_share_their_protocol_and_their_runs(tmp_path: Path) -> None:
    keys, protocols = {}, []
    for path in sorted((REPOSITORY / "configs" / "evidence" / "frozen").glob("*.yaml")):
        assert command(path)[-1] == "runs/evidence-frozen"
        config, lists = parsed(path)
        protocols.append(config.model_dump(exclude=VARIED))
        settings, checked = check_benchmark(config.model_dump(exclude_unset=True), lists)
        keys[path.stem] = {run.key for run in plan(settings, stand_in("pacs"), checked, tmp_path)}
    assert protocols[0] == protocols[1]
    assert len(keys["masks-grid"]) == 96
    assert len(keys["ablations"] & keys["masks-grid"]) == 16, "the rate of the masks with and without overlap loss"


def test_every_piece_of_the_paper_is_in_the_table_of_pieces() -> None:
    table = (PAPER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in table for path in PAPER.glob("*.yaml"))
    for piece in (
        *(f"| Table {number}," for number in range(1, 7)),
        *(f"| Figure {number}," for number in range(3, 7)),
    ):
        assert piece in table


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_experiments_have_the_papers_settings(name: str) -> None:
    config, lists = parsed(tables_of(name))
    dataset, backbone = name.split("-")
    paper = {"backbone": backbone, "weights": "imagenet", "epochs": 50, "batch": 64, "optimizer": "adam", "lr": 1e-4}
    paper |= {
        "sites": ("paper",),
        "augmentation": {"domainnet": "standard"}.get(dataset, dataset),
        "schedule_unit": "epoch",
    } | SETTINGS[dataset]
    assert {setting: getattr(config, setting) for setting in paper} == paper
    assert config.method.given == {"overlap_weight": 0.1, "overlap_reduction": "sum"}
    assert lists["methods"][0] == "dmg"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_experiments_may_stand_beside_the_papers_numbers(name: str, tmp_path: Path) -> None:
    config, lists = parsed(tables_of(name))
    settings, checked = check_benchmark(config.model_dump(exclude_unset=True), lists)
    for run in plan(settings, stand_in(config.dataset), checked, tmp_path):
        assert protocol_match(run.config.to_dict()) == [], run.name


def test_the_released_codes_settings() -> None:
    config, _ = parsed(REPOSITORY / "configs" / "pacs-resnet18-released-code.yaml")
    assert (config.epochs, config.sites) == (150, ("released-code",))
    wanted = {"overlap_reduction": "mean", "overlap_epsilon": 1e-6, "validation": "known-hard"}
    assert {name: config.method.get(name) for name in wanted} == wanted
    assert (config.schedule, config.schedule_masks) == ("exponential", "constant")


@pytest.mark.parametrize(
    ("name", "method", "head"),
    [
        ("aggregate", {"name": "aggregate"}, "default"),
        ("multi-headed", {"name": "multi_headed", "validation": "known"}, "normal"),
    ],
)
def test_the_released_codes_settings_of_the_baselines(name: str, method: dict[str, str], head: str) -> None:
    config, lists = parsed(REPOSITORY / "configs" / f"pacs-resnet18-released-code-{name}.yaml")
    assert (config.epochs, config.method.to_dict(), config.head_initialisation) == (100, method, head)
    assert lists["methods"] == [method["name"]]


def test_the_digits_are_the_defaults(tmp_path: Path) -> None:
    """`make digits` names no file, and must not find other settings in the folder of the one who does."""
    config, lists = parsed(REPOSITORY / "configs" / "digits.yaml")

    def plan(base: RunConfig) -> list[PlannedRun]:
        return leave_one_out(base, load_digits_dataset(), lists["methods"], (), [0], tmp_path)

    assert [run.config for run in plan(config)] == [run.config for run in plan(parse_config({}))]
