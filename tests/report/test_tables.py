import math

import numpy as np
import pytest

from domain_masks.evaluation import compare, per_domain_accuracy
from domain_masks.records.collection import collect
from domain_masks.report.document import Section
from domain_masks.report.runs.accuracies import overall, summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.accuracy_tables import by_target, every_setting, side_by_side
from domain_masks.report.tables.findings import findings, gap
from domain_masks.report.tables.footnotes import ONE_SEED
from domain_masks.report.tables.paper_tables import mask_by_domain_frame
from domain_masks.report.tables.run_tables import runs_section
from domain_masks.report.tables.significance import pairs
from domain_masks.report.tables.sweep_tables import IOU, axis, short, sweep_frame, sweeps_of
from domain_masks.report.tables.table import Table
from report.made_runs import DOMAINS, PAPER_CONFIG, make_benchmark, make_run

OWN_CONFIG = {**PAPER_CONFIG, "backbone": "mobilenet_v2", "size": 112, "freeze_features": True}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    return collect([make_benchmark(tmp_path_factory.mktemp("runs"))])


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("swept")
    for weight, right, overlap in ((0.0, 0.7, 0.9), (0.001, 0.75, 0.8), (1.0, 0.65, 0.2)):
        make_benchmark(out / f"o{weight}", {"dmg": right}, [0], overlap=overlap, settings={"overlap_weight": weight})
    return collect([out])


def one(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
    (row,) = frame.to_dict("records")
    return row


def test_overall_is_the_mean_over_held_out_domains_per_seed(benchmark):
    (group,) = groups_of(benchmark.runs)
    row = one(overall(summary(group)), method="dmg")
    seeds = []
    for seed in (0, 1):
        runs = [r.results for r in benchmark.runs if r.results.method == "dmg" and r.results.seed == seed]
        seeds.append(sum(run.out_of_domain.accuracy for run in runs) / len(runs))
    assert row["accuracy"] == pytest.approx(sum(seeds) / 2)
    assert row["deviation"] == pytest.approx(abs(seeds[0] - seeds[1]) / math.sqrt(2))
    assert (row["seeds"], row["runs"], row["images"]) == (2, 8, 160)
    assert row["low"] < row["accuracy"] < row["high"]


def test_the_interval_is_that_of_the_mean_over_seeds(benchmark):
    (group,) = groups_of(benchmark.runs)
    row = one(summary(group), method="dmg", measure="in_domain", held_out="sketch", ensemble="predictions")
    runs = [r for r in benchmark.runs if r.results.method == "dmg" and r.results.targets == ["sketch"]]
    parts = [run.predictions().select("validation") for run in runs]
    right = [part.of("predictions").argmax(1) == part.labels for part in parts]
    per_image = np.mean(right, axis=0).reshape(3, 40)
    error = math.sqrt(sum(part.var() / 40 for part in per_image)) / 3
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_columns_are_typed(benchmark):
    (group,) = groups_of(benchmark.runs)
    frame = summary(group)
    assert str(frame["accuracy"].dtype) == "Float64"
    assert str(frame["seeds"].dtype) == "Int64"
    assert str(frame["target_labels_used"].dtype) == "boolean"


def test_the_papers_number_stands_beside_only_where_the_protocol_is_the_papers(benchmark, tmp_path):
    (group,) = groups_of(benchmark.runs)
    row = one(overall(summary(group)), method="dmg")
    assert row["paper_accuracy"] == pytest.approx(0.8146)
    assert row["difference"] == pytest.approx(row["accuracy"] - 0.8146)
    inside = one(overall(summary(group), "in_domain"), method="dmg")
    assert inside["paper_accuracy"] is None or math.isnan(inside["paper_accuracy"])
    table = by_target(group, summary(group), "out_of_domain")
    assert "dmg: paper" in [row[0].text for row in table.rows]
    (other,) = groups_of(collect([make_benchmark(tmp_path, config=OWN_CONFIG)]).runs)
    assert summary(other)["paper_accuracy"].isna().all()


def test_a_single_seed_has_no_deviation_and_says_why(tmp_path):
    (group,) = groups_of(collect([make_benchmark(tmp_path, seeds=[3])]).runs)
    table = side_by_side(group, summary(group))
    assert ONE_SEED in table.notes
    assert not any("±" in cell.text for row in table.rows for cell in row)


def test_no_overall_where_a_domain_is_missing(tmp_path):
    make_benchmark(tmp_path, {"dmg": 0.8}, [0])
    make_run(tmp_path / "one", "aggregate", "photo", 0, 0.6)
    (group,) = groups_of(collect([tmp_path]).runs)
    assert list(overall(summary(group))["method"]) == ["dmg"]
    assert any("not every domain" in note for note in side_by_side(group, summary(group)).notes)


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


def test_an_oracle_is_marked_wherever_it_shows(swept):
    (group,) = groups_of(swept.runs, "oracle")
    frame = summary(group)
    assert frame["target_labels_used"].all()
    for table in (side_by_side(group, frame), by_target(group, frame, "out_of_domain")):
        shown = [cell for row in table.rows for cell in row[: 1 + len(DOMAINS)] if cell.mark != "muted"]
        accuracies = [cell for cell in shown if cell.value is not None and cell.value <= 1 and "." in cell.text]
        assert accuracies
        assert all(cell.mark == "oracle" for cell in accuracies[:3])
        assert all("oracle" in cell.text + cell.detail for cell in shown if cell.mark == "oracle")
        assert not any(cell.mark == "best" for cell in shown)


def test_a_rule_that_cannot_choose_is_named_and_every_setting_shown(swept):
    (group,) = groups_of(swept.runs, "leave-one-domain-out")
    assert len(group.lines) == 3
    assert "leave-one-domain-out" in group.problems[0]


def test_every_setting_stands_by_itself(swept):
    (group,) = groups_of(swept.runs)
    table = every_setting(group)
    assert table.columns[1].title == "overlap_weight"
    assert [row[1].value for row in table.rows] == [0.0, 0.001, 1.0]


def test_every_run_is_called_by_its_setting(swept):
    section = runs_section(swept)
    titles = [block.title for block in section.blocks if isinstance(block, Section)]
    assert len(set(titles)) == len(titles) == len(swept.runs)
    assert "dmg, overlap_weight 0.001, sketch held out, seed 0" in titles
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    assert set(table.frame["setting"]) == {f"dmg, overlap_weight {value}" for value in ("0", "0.001", "1")}
    assert set(table.frame["method"]) == {"dmg"}


def test_sweeps_show_every_value_and_the_mean(swept):
    (group,) = groups_of(swept.runs)
    (sweep,) = sweeps_of(group)
    frame = sweep_frame(group, sweep)
    for value, iou in ((0.0, 0.9), (0.001, 0.8), (1.0, 0.2)):
        assert one(frame, measure=IOU, value=value, held_out="overall", site="mean")["mean"] == pytest.approx(iou)
    found = findings(group, {sweep.setting: frame})
    overlap = one(found, finding="The masks overlap less with a larger λ_O")
    assert overlap["result"] == "seen"
    assert overlap["value"] == pytest.approx(-0.7)


def test_zero_has_its_own_place_on_a_logarithmic_axis():
    places, ticks = axis([0.0, 1e-5, 1e-4, 1e-1, 1.0])
    assert places[1e-4] - places[1e-5] == pytest.approx(1.0)
    assert places[0.0] <= places[1e-5] - 1
    assert [label for _, label in ticks] == ["0", "1e-5", "1e-4", "0.1", "1"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1e-3, "1e-3"),
        (0.01, "0.01"),
        (0.0123, "0.0123"),
        (-5e-4, "-5e-4"),
        (1 / 3, "0.333333"),
        (1e5, "1e5"),
    ],
)
def test_numbers_under_an_axis_are_short(value, text):
    assert short(value) == text


def test_tests_are_paired_per_seed_and_pooled_over_domains(benchmark):
    (group,) = groups_of(benchmark.runs)
    frame = pairs(group)
    row = one(frame, first="aggregate", second="dmg", seed=1, held_out="photo")
    runs = {
        r.results.method: r.predictions().select("held_out")
        for r in benchmark.runs
        if r.results.seed == 1 and r.results.targets == ["photo"]
    }
    test = compare(runs["aggregate"], runs["dmg"])
    assert (row["first_only"], row["second_only"]) == (test.first_only, test.second_only)
    assert row["p_value"] == pytest.approx(test.p_value)
    whole = frame[frame["held_out"] == "overall"]
    assert len(whole) == 3 * 2
    assert (whole["p_corrected"] >= whole["p_value"]).all()
    parts = frame[(frame["first"] == "aggregate") & (frame["second"] == "dmg") & (frame["seed"] == 1)]
    sums = parts[parts["held_out"] != "overall"]["second_only"].sum()
    assert one(whole, first="aggregate", second="dmg", seed=1)["second_only"] == sums


def test_every_mask_on_every_domain(benchmark):
    (group,) = groups_of(benchmark.runs)
    line = next(line for line in group.lines if line.method == "dmg")
    frame = mask_by_domain_frame(group, line)
    row = one(frame, held_out="sketch", mask="known:photo", domain="cartoon")
    runs = [r.predictions() for r in benchmark.runs if r.results.method == "dmg" and r.results.targets == ["sketch"]]
    values = [per_domain_accuracy(run.select("validation"), "known:photo")["cartoon"] for run in runs]
    assert row["accuracy"] == pytest.approx(np.mean(values))
    assert one(frame, held_out="sketch", mask="predictions", domain="sketch")["runs"] == 2


def test_dmg_against_aggregate_is_a_finding(benchmark):
    (group,) = groups_of(benchmark.runs)
    found = findings(group, {})
    row = one(found, finding="Out of domain, DMG is better than Aggregate")
    frame = overall(summary(group)).set_index("method")["accuracy"]
    assert row["value"] == pytest.approx(frame["dmg"] - frame["aggregate"])
    assert row["result"] == "seen"
    assert row["paper"] == "+4.94 (AlexNet), +4.10 (ResNet-18), +4.99 (ResNet-50), on PACS"
    known = one(found, finding="In domain, the known domain's own mask is better than the ensemble")
    # The paper has it on DomainNet alone, whose numbers do not stand beside runs on PACS.
    assert known["paper"] == "on DomainNet with AlexNet, ResNet-18, ResNet-50"


def test_missing_predictions_leave_numbers_without_an_interval(tmp_path):
    make_benchmark(tmp_path, {"dmg": 0.8, "aggregate": 0.6}, [0])
    for path in tmp_path.rglob("predictions.npz"):
        path.write_bytes(b"PK")
    (group,) = groups_of(collect([tmp_path]).runs)
    frame = summary(group)
    assert overall(frame)["accuracy"].notna().all()
    assert frame["low"].isna().all()
    assert len(group.problems) == 8
    assert pairs(group).empty


def test_a_difference_that_other_images_could_turn_is_not_clear(tmp_path):
    make_benchmark(tmp_path, {"dmg": 0.7, "aggregate": 0.69}, [0])
    (group,) = groups_of(collect([tmp_path]).runs)
    lines = {line.method: line for line in group.lines}
    found = gap(group, lines["dmg"], lines["aggregate"], ("out_of_domain", "out_of_domain"))
    right = {
        method: np.array(
            [
                np.mean(r.predictions().select("held_out").of("predictions").argmax(1) == np.arange(40) % 3)
                for r in group.records
                if r.results.method == method
            ]
        )
        for method in lines
    }
    assert found.difference == pytest.approx((right["dmg"] - right["aggregate"]).mean())
    assert found.bounds[0] < found.difference < found.bounds[1]
    same = gap(group, lines["dmg"], lines["dmg"], ("out_of_domain", "out_of_domain"))
    assert (same.difference, same.bounds, same.result) == (0, (0, 0), "not clear")
