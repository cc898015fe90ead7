from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from domain_masks.records.collection import collect
from domain_masks.report import build_report
from domain_masks.report.runs.accuracies import summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.accuracy_tables import by_domain, by_target, every_setting, side_by_side
from domain_masks.report.tables.findings import findings
from report.made_runs import DOMAINS, ODD_CONFIG, ODD_DOMAINS, hold_out, make_run


def test_means_of_whole_numbers_have_no_decimals_where_they_are_whole(tmp_path: Path) -> None:
    for seed, best in ((0, 3), (1, 3)):
        path = make_run(tmp_path / str(seed), seed=seed, target="_amazon", domains=ODD_DOMAINS, config=ODD_CONFIG)
        content = json.loads((path / "results.json").read_text())
        (path / "results.json").write_text(json.dumps({**content, "best_epoch": best}))

    def shown() -> str:
        (table,) = [one for one in build_report(collect([tmp_path])).tables if one.name.endswith("overview")]
        return table.rows[0][[column.title for column in table.columns].index("best epoch")].text

    assert shown() == "3"
    content = json.loads((tmp_path / "1" / "results.json").read_text())
    (tmp_path / "1" / "results.json").write_text(json.dumps({**content, "best_epoch": 2}))
    assert shown() == "2.5"


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


def test_every_setting_stands_by_itself(swept):
    (group,) = groups_of(swept.runs)
    table = every_setting(group)
    assert table.columns[1].title == "overlap_weight"
    assert [row[1].value for row in table.rows] == [0.0, 0.001, 1.0]


def test_runs_that_hold_out_different_domains_are_not_averaged_by_domain(tmp_path: Path) -> None:
    make_run(tmp_path / "one", target="sketch", right=0.8)
    (alone,) = groups_of(collect([tmp_path]).runs)
    hold_out(make_run(tmp_path / "two", target="sketch", right=0.3), ("sketch", "photo"))
    (group,) = groups_of(collect([tmp_path]).runs)
    table = by_domain(group)
    assert [[cell.text for cell in row] for row in table.rows] == [
        [cell.text for cell in row] for row in by_domain(alone).rows
    ]
    frame = summary(group)
    means = table.frame.groupby("measure")["accuracy"].mean().to_dict()
    chosen = frame[(frame["held_out"] == "overall") & (frame["ensemble"] == "predictions")]
    assert means == pytest.approx(chosen.set_index("measure")["accuracy"].to_dict())
    notes = side_by_side(group, frame).notes
    assert any(note.startswith("1 run holds out more domains together") for note in notes)
    assert not any("more domains together" in note for note in side_by_side(alone, summary(alone)).notes)


@pytest.mark.parametrize("rule", ["source-validation", "leave-one-domain-out"])
def test_runs_of_a_selection_rule_are_in_no_number(tmp_path: Path, rule: str) -> None:
    for weight in (0.1, 1.0):
        settings = {"overlap_weight": weight}
        for target in DOMAINS:
            make_run(tmp_path / f"{weight}" / target, target=target, overlap=0.2, settings=settings)
        for pair in combinations(DOMAINS, 2):
            path = make_run(tmp_path / f"{weight}" / "-".join(pair), target=pair[0], overlap=0.9, settings=settings)
            content = json.loads((path / "results.json").read_text())
            (path / "results.json").write_text(json.dumps({**content, "best_epoch": 1, "seconds": {"training": 99.0}}))
            hold_out(path, pair)
    (group,) = groups_of(collect([tmp_path]).runs, rule)
    assert group.main_targets == DOMAINS
    assert {record.results.targets[0] for line in group.lines for record in line.records} == set(DOMAINS)
    overview = side_by_side(group, summary(group))
    titles = [column.title for column in overview.columns]
    for row in overview.rows:
        shown = {title: cell.value for title, cell in zip(titles, row, strict=True)}
        assert (shown["training, s"], shown["best epoch"], shown["runs"]) == (12.5, 3, 4)
    assert [row[-1].value for row in every_setting(group).rows] == pytest.approx([0.2, 0.2])
    (own,) = [row for row in findings(group, [])["here"] if "cases (runs × source domains)" in row]
    assert "of 12 cases" in own


def test_a_method_with_pairs_alone_has_a_row_without_numbers(tmp_path: Path) -> None:
    for target in DOMAINS:
        make_run(tmp_path / target, "dmg", target)
    hold_out(make_run(tmp_path / "pair", "aggregate", "sketch"), ("sketch", "photo"))
    tables = build_report(collect([tmp_path])).tables
    (overview,) = [table for table in tables if table.name.endswith("overview")]
    aggregate = next(row for row in overview.rows if row[0].text == "aggregate")
    assert {cell.text for cell in aggregate[1:4]} == {"–"}
    assert any("No overall for aggregate" in note for note in overview.notes)
