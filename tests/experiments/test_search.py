"""A search draws equally many settings for every method, is decided by source validation only, and can be resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import generated
from domain_masks.cli import main
from domain_masks.cli.benchmark_output import show_outcome
from domain_masks.data import content_of
from domain_masks.errors import InputError
from domain_masks.experiments import BenchmarkOutcome, PlannedRun
from domain_masks.experiments import plan as planned_by
from domain_masks.experiments.plan import draws_of
from domain_masks.experiments.search import search
from domain_masks.experiments.settings_file import benchmark_yaml
from domain_masks.methods import METHODS, Aggregate, Choice, Uniform
from domain_masks.records.collection import collect, read_run
from domain_masks.records.files import write_json
from domain_masks.records.identity import INPUTS, inputs_of
from domain_masks.records.search import read_search
from domain_masks.records.yaml_files import parse_yaml
from domain_masks.report.tables.search_tables import searches_section
from domain_masks.settings.benchmark_lists import check_lists
from experiments.records import finish

DOMAINS = generated.DOMAINS
TARGETS = ["dots", "plain"]
Accuracy = Callable[[PlannedRun, str, str], float]


class Own(Aggregate):
    """Has ranges of its own, also of a setting of the run."""

    name = "own"
    search = {"lr": Choice((0.5, 0.25)), "weight_decay": Uniform(1e-6, 1e-2, log=True)}  # noqa: RUF012


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "own", Own)


def lists(**given: Any) -> Any:
    base = generated.config(target=None)
    listed = {"methods": ["dmg", "aggregate"], "targets": TARGETS, "seeds": [3, 4, 5], "search": 4, **given}
    checked, mistakes = check_lists(base, base.method, listed)
    assert not mistakes, mistakes
    return checked


def by_learning_rate(validation_likes: float, target_likes: float) -> Accuracy:
    """Return accuracies that are the higher the nearer the learning rate is to one that validation, or the target, likes."""

    def accuracy(planned: PlannedRun, split: str, _domain: str) -> float:
        liked = validation_likes if split == "validation" else target_likes
        return 0.9 - min(0.8, abs(float(planned.config.lr or 0) - liked) * 10)

    return accuracy


def searched(data: Any, out: Path, accuracy: Accuracy, **given: Any) -> tuple[BenchmarkOutcome, list[list[PlannedRun]]]:
    """Carry out a search whose runs are made up; returns its outcome, and the runs that each plan still had to do."""
    done: list[list[PlannedRun]] = []

    def carry_out(planned: Sequence[PlannedRun]) -> BenchmarkOutcome:
        todo = [run for run in planned if run.state != "done"]
        done.append(todo)
        for run in todo:
            finish(run, DOMAINS, accuracy)
            write_json(run.folder.environment, {INPUTS: inputs_of(run.config, data.domains, content_of(data))})
        return BenchmarkOutcome([(run, read_run(run.folder)) for run in planned])

    return search(generated.config(target=None), data, lists(**given), out, carry_out), done


def test_every_method_has_as_many_draws_and_what_is_shared_is_drawn_alike(data: Any) -> None:
    base = generated.config(target=None)
    found = draws_of(base, data, lists(methods=["dmg", "aggregate", "own"]))
    assert {len(drawn) for _, drawn in found.values()} == {4}
    assert all(drawn[0].settings == {} for _, drawn in found.values())
    settings = {name: [dict(one.settings) for one in drawn[1:]] for name, (_, drawn) in found.items()}
    assert [one["lr"] for one in settings["dmg"]] == [one["lr"] for one in settings["aggregate"]]
    assert all(3e-4 <= one["lr"] <= 3e-2 for one in settings["dmg"])
    assert all(0.01 <= one["method.overlap_weight"] <= 1 for one in settings["dmg"])
    assert len({one["lr"] for one in settings["dmg"]}) == 3
    assert {one["lr"] for one in settings["own"]} <= {0.5, 0.25}
    assert str(found["aggregate"][0]["lr"]) == "0.0003 to 0.03 (logarithmic)"


def test_more_draws_begin_with_the_same_ones_and_other_seeds_draw_others(data: Any) -> None:
    base = generated.config(target=None)
    few, many = (draws_of(base, data, lists(search=count))["dmg"][1] for count in (3, 9))
    assert [one.settings for one in many[:3]] == [one.settings for one in few]
    other = draws_of(base, data, lists(seeds=[7]))["dmg"][1]
    assert other[1].settings != few[1].settings


def test_validation_decides_and_the_target_is_not_looked_at(data: Any, tmp_path: Path) -> None:
    base = generated.config(target=None)
    rates = [one.settings.get("lr", base.lr) for one in draws_of(base, data, lists())["aggregate"][1]]
    chosen = []
    for target_likes in rates:
        out = tmp_path / str(target_likes)
        outcome, plans = searched(data, out, by_learning_rate(rates[2], target_likes))
        chosen.append({(run.config.method_name, run.config.target, run.config.lr) for run in plans[1]})
        assert len(outcome.runs) == len(plans[0]) + len(plans[1])
    assert chosen[0] == {(method, (target,), rates[2]) for method in ("dmg", "aggregate") for target in TARGETS}
    assert all(one == chosen[0] for one in chosen)
    others, _ = searched(data, tmp_path / "other", by_learning_rate(rates[3], rates[0]))
    assert {run.config.lr for run, _ in others.runs if run.config.seed == 5} == {rates[3]}


def test_all_draws_have_the_first_seed_and_the_winners_all_of_them(data: Any, tmp_path: Path) -> None:
    _, (first, second) = searched(data, tmp_path, by_learning_rate(1e-3, 0.1))
    assert len(first) == 2 * 2 * 4
    assert {run.config.seed for run in first} == {3}
    assert len(second) == 2 * 2 * 2
    assert {run.config.seed for run in second} == {4, 5}
    for run in second:
        beside = next(one for one in first if one.folder.path == run.folder.path.with_name("seed-3"))
        assert beside.config.model_copy(update={"seed": run.config.seed}) == run.config


def test_a_search_goes_on_where_it_was_left(data: Any, tmp_path: Path) -> None:
    accuracy = by_learning_rate(1e-3, 0.1)
    searched(data, tmp_path, accuracy, search=2)
    _, (first, second) = searched(data, tmp_path, accuracy, search=3)
    # Of each method and held-out domain there is one more draw, and whatever wins now.
    assert len(first) == 4
    assert len(second) <= 8
    _, again = searched(data, tmp_path, accuracy, search=3)
    assert again == [[], []]


def test_everything_is_published(data: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench"
    outcome, _ = searched(data, out, by_learning_rate(1e-3, 0.1), methods=["dmg", "own"])
    found = read_search(out)
    assert found is not None
    assert (found.seed, found.seeds, found.rule) == (3, [3, 4, 5], "source-validation")
    own = found.methods["own"]
    assert own.ranges == {"lr": "0.5 or 0.25", "weight_decay": "1e-06 to 0.01 (logarithmic)"}
    assert len(own.draws) == 4
    assert all(set(draw.validation) == set(TARGETS) for draw in found.methods["dmg"].draws)
    for target, place in found.methods["dmg"].chosen.items():
        scores = [draw.validation[target] for draw in found.methods["dmg"].draws]
        assert scores[place] == max(scores)
    assert show_outcome(outcome, "generated", out, None, is_search=True) == 0
    shown = capsys.readouterr().out
    assert shown.count("held out dots:") == 2
    assert "±" in shown
    assert (out / "accuracies.csv").read_text().count("\n") > (out / "selected.csv").read_text().count("\n")
    section = searches_section(collect([out]).searches)
    assert section is not None
    ranges, drawn = section.blocks
    assert len(ranges.rows) == 4  # type: ignore[union-attr]
    assert sum("chosen" in cell.text for row in drawn.rows for cell in row) == 4  # type: ignore[union-attr]
    assert collect([tmp_path]).searches == (found,)


def test_a_file_that_describes_no_search_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "search.json").write_text(json.dumps({"schema": 1, "seed": "three"}))
    found = collect([tmp_path])
    assert found.searches == ()
    assert "search.json cannot be used: it describes no search:\n- seed: " in str(found.skipped[0])
    assert searches_section(()) is None


def test_it_stands_in_the_benchmarks_file(data: Any, tmp_path: Path) -> None:
    base, checked = generated.config(target=None), lists()
    content = parse_yaml(benchmark_yaml(base, checked, planned_by(base, data, checked, tmp_path)), "")
    assert (content["search"], content["seeds"], content["lr"]) == (4, [3, 4, 5], base.lr)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"search": 1}, "search: expected .* a whole number from 2 to 1000, got 1"),
        ({"search": "many"}, "search: expected .* got 'many'"),
        ({"search": 4, "sweep": {"lr": [1, 2]}}, "sweep: settings are either listed or searched for"),
        ({"search": 4, "variants": ["lr=1"]}, "variants: settings are either listed or searched for"),
        ({"search": 4, "select": "oracle"}, "select: a search is decided by source-validation alone, got 'oracle'"),
    ],
)
def test_what_a_search_does_not_go_with_is_told(given: dict[str, Any], told: str) -> None:
    base = generated.config(target=None)
    _, mistakes = check_lists(base, base.method, {"methods": ["dmg"], **given})
    assert len(mistakes) == 1
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(mistakes[0])


def test_ranges_that_no_setting_has_are_told(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "search", {"method.sharpness": Uniform(1.0, 2.0), "batch": Uniform(0.1, 0.9)})
    with pytest.raises(InputError, match="method 'own' has ranges for a search that cannot be used: ") as caught:
        draws_of(generated.config(target=None), data, lists(methods=["own"]))
    for line in ("batch: ", "method.sharpness: none of the methods has such a setting"):
        assert line in str(caught.value)


def test_a_dry_run_shows_ranges_and_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "domain_masks.cli.benchmark.show_plan", lambda plan, *_: print(*(run.name for run in plan), sep="\n")
    )
    words = ["benchmark", "--methods", "dmg", "--targets", "ink", "--seeds", "0", "1", "--search", "3", "--dry_run"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "search: 3 settings of each method, the first its defaults, drawn and run with seed 0, from" in shown
    assert "  dmg: lr 0.0003 to 0.03 (logarithmic); method.overlap_weight 0.01 to 1.0 (logarithmic)" in shown
    assert "is run with 1 as well: 1 run more, not counted below" in shown
    assert shown.count("dmg/") == 3
    assert not (tmp_path / "runs").exists()
