"""What the report says where settings were chosen between, could not be, or the paper's is among them."""

import re

import numpy as np
import pytest

from domain_masks.evaluation import accuracies
from domain_masks.records import Predictions, Results, RunFolder
from domain_masks.records.collection import collect
from domain_masks.report import build_report
from domain_masks.report.runs.accuracies import overall, summary
from domain_masks.report.runs.differences import AccuracyDifference
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.runs.paper_numbers import paper_number
from domain_masks.report.tables.accuracy_tables import by_target, ensembles, side_by_side
from domain_masks.report.tables.findings import findings
from domain_masks.report.tables.paper_tables import mask_by_domain_tables, published_section
from domain_masks.report.tables.significance import pairs, significance
from domain_masks.report.tables.sweep_tables import sweep_frame, sweeps_of
from domain_masks.report.write.markdown import to_markdown
from domain_masks.report.write.page import render_page
from report.made_runs import DOMAINS, PAPER_CONFIG, make_benchmark, make_run

WEIGHTS = (0.0, 0.1, 1.0)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """DMG with three overlap weights, the paper's the worst on validation images, and Aggregate."""
    out = tmp_path_factory.mktemp("swept")
    for weight, right, overlap in zip(WEIGHTS, (0.7, 0.65, 0.68), (0.9, 0.8, 0.2), strict=True):
        make_benchmark(out / f"o{weight}", {"dmg": right}, [0, 1], overlap=overlap, settings={"overlap_weight": weight})
    make_benchmark(out / "a", {"aggregate": 0.5}, [0, 1])
    return collect([out])


def test_nothing_is_headlined_or_compared_where_the_rule_could_not_choose(swept):
    report = build_report(swept, "leave-one-domain-out")
    (group,) = groups_of(swept.runs, "leave-one-domain-out")
    assert group.line("dmg") is None
    assert [one.what for one in report.highlights] == ["aggregate, out of domain"]
    assert findings(group, {}).empty
    assert pairs(group).empty
    table = side_by_side(group, summary(group))
    assert not any(cell.mark == "best" for row in table.rows for cell in row)
    facts = dict(
        pair for section in report.sections for block in section.blocks for pair in getattr(block, "pairs", ())
    )
    assert "not chosen for dmg" in facts["setting chosen by"]
    assert all(len(warning.splitlines()) == 1 for warning in report.warnings)


def test_what_an_oracle_chose_is_red_in_headline_findings_masks_and_tests(swept):
    report = build_report(swept, "oracle")
    (group,) = groups_of(swept.runs, "oracle")
    line = group.line("dmg")
    assert line.oracle
    gaps = [one for one in report.highlights if one.what.startswith("points")]
    assert gaps
    assert all(one.oracle for one in gaps)
    assert re.search(r'<li class="oracle"><strong>[+−]\d', render_page(report))
    assert r"\color{red}{\textsf{oracle}}" in to_markdown(report).split("##", maxsplit=1)[0]
    found = findings(group, {})
    assert set(found["result"]) == {"oracle: not judged"}
    for table in mask_by_domain_tables(group, line):
        assert "(oracle)" in table.title
        assert all(cell.mark == "oracle" for row in table.rows for cell in row)
    assert all(figure.oracle for figure in report.figures if "dmg" in figure.name and "sweep" not in figure.name)
    tested = significance(group, pairs(group))
    by_name = {cell.text: cell.mark for row in tested.rows for cell in row[:2]}
    assert by_name == {"dmg": "oracle", "aggregate": ""}
    assert not any(cell.mark == "best" for row in tested.rows for cell in row)


def test_the_papers_setting_keeps_its_own_row_beside_the_papers_number(swept):
    (group,) = groups_of(swept.runs)
    (published,) = group.published
    assert {record.method_settings["overlap_weight"] for record in published.records} == {0.1}
    frame = summary(group)
    printed = paper_number("pacs", "resnet18", "dmg", "adam", "out_of_domain", "predictions", "sketch")
    rows = frame[(frame["held_out"] == "sketch") & (frame["measure"] == "out_of_domain")]
    rows = rows[(rows["method"] == "dmg") & (rows["ensemble"] == "predictions")].set_index("line")
    assert rows.loc["dmg, the paper's setting", "paper_accuracy"] == pytest.approx(printed.accuracy)
    assert rows["paper_accuracy"].notna().sum() == 1
    names = [row[0].text for row in by_target(group, frame, "out_of_domain").rows]
    assert "dmg, the paper's setting: paper" in names
    table = next(
        block for block in published_section([group], [frame]).blocks if getattr(block, "name", "") == "paper-table-2"
    )
    shown = table.frame[(table.frame["backbone"] == "resnet18") & (table.frame["method"] == "DMG")]
    assert shown["accuracy"].notna().all()
    # It is no second method: nothing is tested against it, and the best number of the page is not looked for there.
    assert set(pairs(group)["first"]) | set(pairs(group)["second"]) == {"dmg", "aggregate"}


def test_another_optimiser_makes_another_baseline(tmp_path):
    make_benchmark(tmp_path / "adam", {"aggregate": 0.6}, [0])
    for target in DOMAINS:
        make_run(tmp_path / "sgd" / target, "aggregate", target, 0, 0.7, settings={}, config=by_sgd())
    make_benchmark(tmp_path / "dmg", {"dmg": 0.8}, [0])
    (group,) = groups_of(collect([tmp_path]).runs)
    assert {line.label for line in group.lines} == {"aggregate, adam", "aggregate, sgd", "dmg"}
    assert group.line("aggregate", "adam").label == "aggregate, adam"
    row = findings(group, {}).iloc[0]
    means = overall(summary(group)).set_index("line")["accuracy"]
    assert row["value"] == pytest.approx(means["dmg"] - means["aggregate, adam"])


def by_sgd():
    return {**PAPER_CONFIG, "optimizer": "sgd"}


def test_a_line_of_one_seed_among_others_of_several_says_so(tmp_path):
    make_benchmark(tmp_path / "two", {"aggregate": 0.6}, [0, 1])
    make_benchmark(tmp_path / "one", {"dmg": 0.8}, [0])
    (group,) = groups_of(collect([tmp_path]).runs)
    notes = side_by_side(group, summary(group)).notes
    assert any(note.startswith("No ± for dmg: only one seed") for note in notes)
    (finding,) = findings(group, {}).iloc[:1]["here"]
    assert "(seed 0 alone)" in finding


def test_seeds_without_every_domain_leave_no_overall_and_say_why(tmp_path):
    for seed, target in enumerate(DOMAINS):
        make_run(tmp_path / target, "dmg", target, seed, 0.7)
    make_benchmark(tmp_path / "a", {"aggregate": 0.6}, [0, 1])
    (group,) = groups_of(collect([tmp_path]).runs)
    notes = side_by_side(group, summary(group)).notes
    assert any(note.startswith("No overall for dmg: no single seed") for note in notes)


@pytest.mark.parametrize(
    ("by_seed", "bounds", "result"),
    [
        ({0: 0.02, 1: 0.03}, (0.01, 0.04), "seen"),
        ({0: 0.05, 1: -0.001}, (0.01, 0.04), "not clear"),
        ({0: 0.001, 1: 0.1, 2: 0.001}, (0.01, 0.04), "not clear"),
        ({0: 0.02, 1: 0.03}, (-0.01, 0.04), "not clear"),
        ({0: -0.02, 1: -0.03}, (-0.04, -0.01), "not seen"),
    ],
)
def test_a_difference_is_seen_where_neither_images_nor_seeds_could_turn_it(by_seed, bounds, result):
    values = list(by_seed.values())
    assert AccuracyDifference(np.mean(values), 3, 4, by_seed, float(np.std(values, ddof=1)), bounds).result == result


def test_the_ranges_of_two_sweeps_are_over_the_values_of_both(tmp_path):
    for weight, right in zip((0.0, 0.01, 0.1, 1.0), (0.7, 0.7, 0.72, 0.2), strict=True):
        make_benchmark(tmp_path / f"o{weight}", {"dmg": right}, [0], settings={"overlap_weight": weight})
    for weight, right in zip((0.01, 0.1), (0.5, 0.3), strict=True):
        settings = {"overlap_weight": 0.0, "sparsity_weight": weight}
        make_benchmark(tmp_path / f"s{weight}", {"dmg": right}, [0], settings=settings)
    (group,) = groups_of(collect([tmp_path]).runs)
    frames = {sweep.setting: sweep_frame(group, sweep) for sweep in sweeps_of(group)}
    found = findings(group, frames).set_index("finding")
    row = found.loc["Out of domain, λ_O matters little and λ_S much"]
    assert row["here"].startswith("over 0, 0.01, 0.1: a range of ")
    assert "λ_O = 1 left out" in row["here"]
    assert row["result"] == "seen"
    level = found.loc["The masks overlap less with a larger λ_O"]
    assert level["result"] == "not seen"


def test_an_ensemble_that_some_runs_lack_is_named(tmp_path):
    out = make_benchmark(tmp_path, {"dmg": 0.8}, [0])
    folder = RunFolder(out / "dmg" / "target-0" / "seed-0")
    made = Predictions.load(folder.predictions)
    logits = {**made.logits, "weighted": made.logits["predictions"]}
    more = Predictions(
        made.ids, made.labels, made.domains, made.domain_names, made.splits, logits, made.classes, made.sources
    )
    more.save(folder.predictions)
    results = Results.read(folder.results)
    found = accuracies(more, "all")
    measures = {name: found[name] for name in ("out_of_domain", "in_domain")}
    results.model_copy(update=measures).write(folder.results)
    (group,) = groups_of(collect([out]).runs)
    notes = ensembles(group, summary(group)).notes
    assert any(note.startswith("weighted: 1 of 4 runs of dmg have it") for note in notes)


def test_an_undecided_baseline_is_not_replaced_by_one_of_another_optimiser(tmp_path):
    for weight in (0.0, 1e-5):
        config = {**PAPER_CONFIG, "weight_decay": weight}
        make_benchmark(tmp_path / f"adam-{weight}", {"aggregate": 0.6}, [0], config=config)
    make_benchmark(tmp_path / "sgd", {"aggregate": 0.4}, [0], config=by_sgd())
    make_benchmark(tmp_path / "dmg", {"dmg": 0.8}, [0])
    (group,) = groups_of(collect([tmp_path]).runs, "leave-one-domain-out")
    assert group.line("aggregate", "sgd") is not None
    assert group.line("aggregate", "adam") is None
    assert not any("Aggregate" in finding for finding in findings(group, {})["finding"])
