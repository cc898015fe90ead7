from __future__ import annotations

import json
from pathlib import Path

from domain_masks.records.collection import collect
from domain_masks.report import build_report
from domain_masks.report.runs.accuracies import summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.accuracy_tables import by_target, every_setting, side_by_side
from report.made_runs import DOMAINS, ODD_CONFIG, ODD_DOMAINS, make_run


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
