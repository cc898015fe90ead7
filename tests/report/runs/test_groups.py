import numpy as np
import pytest

from domain_masks.evaluation import per_domain_accuracy
from domain_masks.records.collection import collect
from domain_masks.report import build_report
from domain_masks.report.runs.accuracies import overall, summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.findings import findings
from report.made_runs import DOMAINS, PAPER_CONFIG, hold_out, make_benchmark, make_run

OWN_CONFIG = {**PAPER_CONFIG, "backbone": "mobilenet_v2", "size": 112, "freeze_features": True}


def by_sgd():
    return {**PAPER_CONFIG, "optimizer": "sgd"}


def one(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
    (row,) = frame.to_dict("records")
    return row


def test_another_optimiser_makes_another_baseline(tmp_path):
    make_benchmark(tmp_path / "adam", {"aggregate": 0.6}, [0])
    for target in DOMAINS:
        make_run(tmp_path / "sgd" / target, "aggregate", target, 0, 0.7, settings={}, config=by_sgd())
    make_benchmark(tmp_path / "dmg", {"dmg": 0.8}, [0])
    (group,) = groups_of(collect([tmp_path]).runs)
    assert {line.label for line in group.lines} == {"aggregate, adam", "aggregate, sgd", "dmg"}
    assert group.line("aggregate", "adam").label == "aggregate, adam"
    row = findings(group, []).iloc[0]
    means = overall(summary(group)).set_index("line")["accuracy"]
    assert row["value"] == pytest.approx(means["dmg"] - means["aggregate, adam"])


def test_an_undecided_baseline_is_not_replaced_by_one_of_another_optimiser(tmp_path):
    for weight in (0.0, 1e-5):
        config = {**PAPER_CONFIG, "weight_decay": weight}
        make_benchmark(tmp_path / f"adam-{weight}", {"aggregate": 0.6}, [0], config=config)
    make_benchmark(tmp_path / "sgd", {"aggregate": 0.4}, [0], config=by_sgd())
    make_benchmark(tmp_path / "dmg", {"dmg": 0.8}, [0])
    (group,) = groups_of(collect([tmp_path]).runs, "leave-one-domain-out")
    assert group.line("aggregate", "sgd") is not None
    assert group.line("aggregate", "adam") is None
    assert not any("Aggregate" in finding for finding in findings(group, [])["finding"])


def test_several_protocols_are_never_averaged(tmp_path):
    make_benchmark(tmp_path / "a", {"dmg": 0.8}, [0])
    make_benchmark(tmp_path / "b", {"dmg": 0.6}, [1], config=OWN_CONFIG)
    make_benchmark(tmp_path / "c", {"dmg": 0.6}, [1], config={**PAPER_CONFIG, "epochs": 3})
    groups = groups_of(collect([tmp_path]).runs)
    assert len(groups) == 3
    assert len({group.name for group in groups}) == 3
    assert all(group.seeds in ((0,), (1,)) for group in groups)


def test_the_setting_is_chosen_without_the_held_out_domain(swept):
    (group,) = groups_of(swept.runs)
    (line,) = group.lines
    for target, records in line.by_target.items():
        mine = [r for r in swept.runs if r.results.targets == [target]]
        best = max(
            mine, key=lambda r: np.mean(list(per_domain_accuracy(r.predictions().select("validation")).values()))
        )
        assert records[0].folder.path == best.folder.path
    assert not line.oracle
    row = one(overall(summary(group)), method="dmg")
    assert row["chosen_by"] == "source-validation"


def test_a_rule_that_cannot_choose_is_named_and_every_setting_shown(swept):
    (group,) = groups_of(swept.runs, "leave-one-domain-out")
    assert len(group.lines) == 3
    assert "leave-one-domain-out" in group.problems[0]


def test_runs_on_all_domains_are_a_group_of_their_own(tmp_path):
    make_benchmark(tmp_path / "benchmark", {"dmg": 0.8, "aggregate": 0.6}, [0])
    (alone,) = groups_of(collect([tmp_path]).runs)
    expected = overall(summary(alone)).set_index("line")["accuracy"].to_dict()
    for seed in range(9):
        hold_out(make_run(tmp_path / "final" / str(seed), "dmg", "sketch", seed, 0.9), ())
    groups = groups_of(collect([tmp_path]).runs)
    assert [group.main_targets for group in groups] == [DOMAINS, ("",)]
    assert [len(group.records) for group in groups] == [8, 9]
    assert overall(summary(groups[0])).set_index("line")["accuracy"].to_dict() == pytest.approx(expected)
    assert overall(summary(groups[1])).empty
    assert groups[1].title.endswith("nothing held out")
    report = build_report(collect([tmp_path]))
    assert report.highlights[0].number.startswith(f"{100 * expected['dmg']:.2f}")
    assert any("nothing held out" in section.title for section in report.sections)
