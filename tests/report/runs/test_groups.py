import json

import numpy as np
import pandas as pd
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


def note(folder, started, **inputs):
    """Record for all runs below a folder when they were started, and the contents that they were made with."""
    for results in folder.rglob("results.json"):
        results.with_name("environment.json").write_text(json.dumps({"started": started, "inputs": inputs}))


OLD, NEW = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"


@pytest.mark.parametrize("name", ["plugins", "init_from"])
def test_runs_of_older_code_or_of_another_base_run_are_not_averaged_with_the_newest(tmp_path, name):
    new = make_benchmark(tmp_path / "new", {"dmg": 0.8}, [0])
    note(new, NEW, **{name: "1111"})
    (alone,) = groups_of(collect([new]).runs)
    note(make_benchmark(tmp_path / "old", {"dmg": 0.3}, [0, 1]), OLD, **{name: "2222"})
    (group,) = groups_of(collect([tmp_path]).runs)
    pd.testing.assert_frame_equal(summary(group), summary(alone))
    assert group.seeds == (0,)
    assert [text.split(",")[0] for text in group.problems] == ["8 runs have other contents of the plugins"]


def test_runs_with_the_contents_of_the_newest_are_its_other_seeds(tmp_path):
    for seed, started in enumerate((NEW, OLD)):
        note(make_benchmark(tmp_path / str(seed), {"dmg": 0.8}, [seed]), started, plugins=["1111"])
    make_benchmark(tmp_path / "unknown", {"dmg": 0.8}, [2])
    (group,) = groups_of(collect([tmp_path]).runs)
    assert group.seeds == (0, 1, 2)
    assert not group.problems


def test_another_file_of_weights_under_the_same_name_is_another_protocol(tmp_path):
    config = {**PAPER_CONFIG, "weights": "best.pt"}
    for weights, right, seed in (("aaaa", 0.8, 0), ("bbbb", 0.3, 0), (None, 0.5, 1)):
        out = make_benchmark(tmp_path / f"{weights}", {"dmg": right}, [seed], config=config)
        note(out, OLD, **({"weights": weights} if weights else {}))
    groups = groups_of(collect([tmp_path]).runs)
    assert [group.seeds for group in groups] == [(0,), (0,), (1,)]
    assert sum("weights_content aaaa" in group.title for group in groups) == 1
    known = collect([tmp_path / "aaaa", tmp_path / "None"]).runs
    assert [group.seeds for group in groups_of(known)] == [(0, 1)]


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
