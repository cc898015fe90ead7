"""What is varied, which runs that gives, and where they lie."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from domain_masks.errors import InputError
from domain_masks.experiments import execute_plan
from domain_masks.experiments.plan import varied_texts
from domain_masks.progress import ConsoleReporter

QUIET = ConsoleReporter(quiet=True)


def test_a_sweep_is_every_combination_and_a_method_without_the_setting_appears_once(plan: Any) -> None:
    runs = plan(targets=["dots"], sweep={"method.overlap_weight": [0, 0.1], "lr": [1e-3, 3e-3]})
    assert [(run.config.method_name, dict(run.variation)) for run in runs] == [
        ("dmg", {"overlap_weight": 0.0, "lr": 1e-3}),
        ("dmg", {"overlap_weight": 0.0, "lr": 3e-3}),
        ("dmg", {"overlap_weight": 0.1, "lr": 1e-3}),
        ("dmg", {"overlap_weight": 0.1, "lr": 3e-3}),
        ("aggregate", {"lr": 1e-3}),
        ("aggregate", {"lr": 3e-3}),
    ]
    assert [run.name for run in runs] == [
        "dmg/overlap_weight=0,lr=0.001/dots/seed-0",
        "dmg/overlap_weight=0,lr=0.003/dots/seed-0",
        "dmg/overlap_weight=0.1,lr=0.001/dots/seed-0",
        "dmg/overlap_weight=0.1,lr=0.003/dots/seed-0",
        "aggregate/lr=0.001/dots/seed-0",
        "aggregate/lr=0.003/dots/seed-0",
    ]
    assert varied_texts(runs)[-1] == {"lr": "0.003"}


def test_what_is_of_masks_is_varied_for_methods_with_masks(plan: Any) -> None:
    runs = plan(targets=["dots"], sweep={"lr_masks": [0.1, 0.01]})
    assert [(run.config.method_name, run.config.lr_masks) for run in runs] == [
        ("dmg", 0.1),
        ("dmg", 0.01),
        ("aggregate", None),
    ]


def test_listed_variants_are_no_grid_and_may_be_of_some_methods(plan: Any) -> None:
    variants = [
        "",
        "method.overlap_weight=0,method.sparsity_weight=0.1",
        {"name": "sgd", "methods": ["aggregate"], "optimizer": "sgd"},
    ]
    runs = plan(targets=["dots"], variants=variants)
    assert [(run.config.method_name, run.variant, dict(run.variation)) for run in runs] == [
        ("dmg", "", {}),
        ("dmg", "", {"overlap_weight": 0.0, "sparsity_weight": 0.1}),
        ("aggregate", "", {}),
        ("aggregate", "sgd", {"optimizer": "sgd"}),
    ]
    assert varied_texts(runs)[-1] == {"variant": "sgd", "optimizer": "sgd"}


def test_a_sweep_wins_over_a_methods_own_settings(plan: Any) -> None:
    runs = plan(
        targets=["dots"],
        methods=[{"name": "dmg", "overlap_weight": 0.0}],
        sweep={"method.sparsity_weight": [0, 1e-3], "method.overlap_weight": [0, 1]},
    )
    own = [(run.config.method.get("overlap_weight"), run.config.method.get("sparsity_weight")) for run in runs]
    assert own == [(0.0, 0.0), (1.0, 0.0), (0.0, 1e-3), (1.0, 1e-3)]
    assert runs[0].name == "dmg/sparsity_weight=0,overlap_weight=0/dots/seed-0"


def test_one_configuration_reached_twice_is_one_run(plan: Any) -> None:
    runs = plan(targets=["dots"], methods=["dmg"], variants=["lr=0.01", "lr=1e-2,method.overlap_weight=0.1"])
    assert [run.name for run in runs] == ["dmg/lr=0.01/dots/seed-0"]


def test_what_the_base_alone_contradicts_can_be_swept(plan: Any) -> None:
    runs = plan(targets=["dots"], methods=["aggregate"], momentum=0.5, sweep={"optimizer": ["sgd"]})
    assert [(run.config.optimizer, run.config.momentum) for run in runs] == [("sgd", 0.5)]


def test_a_run_is_found_wherever_it_was_moved(plan: Any, data: Any, tmp_path: Path) -> None:
    execute_plan(plan(targets=["dots"], methods=["dmg"]), data, QUIET)
    (tmp_path / "archive").mkdir()
    shutil.move(tmp_path / "dmg" / "dots" / "seed-0", tmp_path / "archive" / "the good one")
    (found,) = plan(targets=["dots"], methods=["dmg"])
    assert (found.state, found.name) == ("done", "archive/the good one")
    swept = plan(targets=["dots"], methods=["dmg"], sweep={"method.overlap_weight": [0, 0.1]})
    assert [run.state for run in swept] == ["pending", "done"], "the same run, reached by a sweep"
    before = (tmp_path / "archive" / "the good one" / "results.json").stat().st_mtime_ns
    assert len(execute_plan(swept, data, QUIET).results) == 2
    assert (tmp_path / "archive" / "the good one" / "results.json").stat().st_mtime_ns == before


def test_older_folders_without_the_usual_value_in_their_name_are_done(plan: Any, data: Any, tmp_path: Path) -> None:
    sweep = {"method.overlap_weight": [0, 0.1]}
    runs = plan(targets=["dots"], methods=["dmg"], sweep=sweep)
    assert [run.name.split("/")[1] for run in runs] == ["overlap_weight=0", "overlap_weight=0.1"]
    execute_plan(runs, data, QUIET)
    shutil.move(tmp_path / "dmg" / "overlap_weight=0.1" / "dots", tmp_path / "dmg" / "dots")
    again = plan(targets=["dots"], methods=["dmg"], sweep=sweep)
    assert [(run.state, run.name) for run in again] == [
        ("done", "dmg/overlap_weight=0/dots/seed-0"),
        ("done", "dmg/dots/seed-0"),
    ]


def test_a_whole_benchmark_is_found_elsewhere(plan: Any, data: Any, tmp_path: Path) -> None:
    execute_plan(plan(tmp_path / "here", targets=["dots"], methods=["aggregate"]), data, QUIET)
    (tmp_path / "here").rename(tmp_path / "there")
    assert [run.state for run in plan(tmp_path / "there", targets=["dots"], methods=["aggregate"])] == ["done"]


def test_a_folder_with_settings_that_cannot_be_read_is_left_alone(plan: Any, tmp_path: Path) -> None:
    strange = tmp_path / "dmg" / "dots" / "seed-0"
    strange.mkdir(parents=True)
    (strange / "config.yaml").write_text("schema: 99\n")
    (run,) = plan(targets=["dots"], methods=["dmg"])
    assert run.name == f"dmg/dots/seed-0-{run.key[:8]}"


def test_names_of_folders_stay_short(plan: Any, tmp_path: Path) -> None:
    file = tmp_path / ("long" * 50 + ".pth")
    runs = plan(targets=["dots"], methods=["aggregate"], sweep={"weights": ["none", str(file)]})
    assert all(len(part) < 128 for run in runs for part in Path(run.name).parts)


@pytest.mark.parametrize(
    ("varied", "words"),
    [
        ({"sweep": ["lr"]}, ("sweep", "--sweep lr=1e-4,1e-3", "'lr'")),
        ({"sweep": ["lr="]}, ("sweep lr", "values")),
        ({"sweep": ["lr=1,2", "lr=3"]}, ("'lr' is named twice",)),
        ({"sweep": ["lr=0.1,1e-1"]}, ("0.1 is named twice",)),
        ({"sweep": ["lr=fast,-1"]}, ("lr", "'fast'", "-1")),
        ({"sweep": ["lrr=1"]}, ("'lrr'", "did you mean 'lr'")),
        ({"sweep": ["seed=0,1"]}, ("--seeds",)),
        ({"sweep": ["dataset=a,b"]}, ("dataset", "one for all")),
        ({"sweep": ["device=cpu,cuda"]}, ("device", "does not decide")),
        ({"sweep": ["method.overlap_wieght=1"]}, ("method.overlap_weight",)),
        ({"sweep": ["method.overlap_weight=-1"]}, ("method.overlap_weight", "-1")),
        ({"sweep": ["backbone=small,resnet19"]}, ("resnet19", "resnet18")),
        ({"sweep": ["optimizer=adam,sgd", "momentum=0.5"]}, ("momentum", "optimizer=adam")),
        ({"sweep": {"lr": []}}, ("sweep lr", "values")),
        ({"sweep": [3]}, ("sweep", "got 3")),
        ({"sweep": {name: list(range(1, 31)) for name in ("lr", "clip", "lr_head")}}, ("27000 combinations",)),
        ({"methods": ["aggregate"], "sweep": ["lr_masks=0.1,0.2"]}, ("lr_masks", "none of the methods")),
        ({"variants": ["lr=0.1", "optimizer"]}, ("variants", "'optimizer'")),
        ({"variants": [{"name": "a", "lr": 1}, {"name": "a", "lr": 2}]}, ("'a' is named twice",)),
        ({"variants": [{"methods": ["dgm"], "lr": 1}]}, ("dgm", "dmg")),
        ({"variants": [{"methods": 3, "lr": 1}]}, ("methods", "3")),
        ({"seeds": ["x"], "sweep": ["lr=0", "views=8"]}, ("3 settings are wrong", "seeds", "lr", "views")),
    ],
)  # fmt: skip
def test_mistakes_in_what_is_varied_are_named_together(
    varied: dict[str, Any], words: tuple[str, ...], plan: Any
) -> None:
    with pytest.raises(InputError) as caught:
        plan(**varied)
    for word in words:
        assert word in str(caught.value)


def test_a_setting_of_the_run_and_one_of_its_method_may_have_one_name(plan: Any) -> None:
    sweep = {"average": ["none", "ema"], "method.average": ["logits", "probabilities"]}
    runs = plan(targets=["dots"], methods=["dmg"], sweep=sweep)
    assert len({run.folder.path for run in runs}) == len({tuple(run.variation.items()) for run in runs}) == 4
    assert runs[-1].variation == {"average": "ema", "method.average": "probabilities"}
