from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from domain_masks.records import Results
from domain_masks.records.collection import collect
from domain_masks.report import build_report, render_page
from domain_masks.report.figures.group_figures import training_figures
from domain_masks.report.runs.accuracies import summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.accuracy_tables import side_by_side
from domain_masks.report.tables.findings import findings
from domain_masks.report.tables.mask_tables import mask_by_domain_tables
from domain_masks.report.tables.significance import pairs, significance
from domain_masks.report.write.markdown import to_markdown
from report.made_runs import ODD_DOMAINS, make_run


def test_nothing_is_headlined_or_compared_where_the_rule_could_not_choose(papers_among):
    report = build_report(papers_among, "leave-one-domain-out")
    (group,) = groups_of(papers_among.runs, "leave-one-domain-out")
    assert group.line("dmg") is None
    assert [one.what for one in report.highlights] == ["aggregate, out of domain"]
    assert findings(group, []).empty
    assert pairs(group).empty
    table = side_by_side(group, summary(group))
    assert not any(cell.mark == "best" for row in table.rows for cell in row)
    facts = dict(
        pair for section in report.sections for block in section.blocks for pair in getattr(block, "pairs", ())
    )
    assert "not chosen for dmg" in facts["setting chosen by"]
    assert all(len(warning.splitlines()) == 1 for warning in report.warnings)


def test_what_an_oracle_chose_is_red_in_headline_findings_masks_and_tests(papers_among):
    report = build_report(papers_among, "oracle")
    (group,) = groups_of(papers_among.runs, "oracle")
    line = group.line("dmg")
    assert line.oracle
    gaps = [one for one in report.highlights if one.what.startswith("points")]
    assert gaps
    assert all(one.oracle for one in gaps)
    assert re.search(r'<li class="oracle"><strong>[+−]\d', render_page(report))
    assert r"\color{red}{\textsf{oracle}}" in to_markdown(report).split("##", maxsplit=1)[0]
    found = findings(group, [])
    assert set(found["result"]) == {"oracle: not judged"}
    for table in mask_by_domain_tables(group, line):
        assert "(oracle)" in table.title
        assert all(cell.mark == "oracle" for row in table.rows for cell in row)
    assert all(figure.oracle for figure in report.figures if "dmg" in figure.name and "sweep" not in figure.name)
    tested = significance(group, pairs(group))
    by_name = {cell.text: cell.mark for row in tested.rows for cell in row[:2]}
    assert by_name == {"dmg": "oracle", "aggregate": ""}
    assert not any(cell.mark == "best" for row in tested.rows for cell in row)


def test_one_run_has_no_table_three_times(written: Path) -> None:
    tables = build_report(collect([written / "runs"])).tables
    names = [table.name for table in tables]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.endswith(("-out-of-domain", "-in-domain", "-known-domain"))]
    (by_domain,) = [table for table in tables if table.name.endswith("by-domain")]
    assert [column.title for column in by_domain.columns] == [
        "method",
        "measure",
        "_amazon",
        "a|b",
        "x_y",
        "网络摄像头",
    ] or {column.title for column in by_domain.columns} == {"method", "measure", *ODD_DOMAINS}
    assert by_domain.frame["images"].notna().all()
    results = Results.read(written / "runs" / "one" / "results.json")
    assert results.in_domain is not None
    inside = by_domain.frame[by_domain.frame["measure"] == "in_domain"].set_index("domain")["accuracy"].to_dict()
    assert inside == pytest.approx(results.in_domain.per_domain)


def test_what_cannot_be_used_is_named_and_counted(tmp_path):
    make_run(tmp_path / "good")
    (make_run(tmp_path / "newer", seed=1) / "results.json").write_text('{"schema": 99}')
    (make_run(tmp_path / "half", seed=2) / "results.json").write_text("{")
    (make_run(tmp_path / "foreign", seed=3) / "results.json").write_text('{"score": 1}')
    (make_run(tmp_path / "begun", seed=4) / "results.json").unlink()
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "failed.json").write_text('{"schema": 1, "error": "the loss became NaN"}')
    (tmp_path / "good" / "analysis.json").write_text('{"schema": 99}')
    report = build_report(collect([tmp_path]))
    page = render_page(report)
    assert report.subtitle.startswith("1 finished run, 1 failed, 1 unfinished, 3 unreadable")
    for said in ("the loss became NaN", "newer version", "malformed", "begun", "analysis.json was written by a newer"):
        assert said in page


def test_nothing_finished_is_said(tmp_path):
    (make_run(tmp_path / "begun") / "results.json").unlink()
    assert "No finished run." in render_page(build_report(collect([tmp_path])))


def test_a_run_without_held_out_domain_and_masks_is_shown(tmp_path):
    folder = make_run(tmp_path / "all", "aggregate")
    results = json.loads((folder / "results.json").read_text())
    del results["out_of_domain"]
    (folder / "results.json").write_text(json.dumps({**results, "targets": []}))
    (folder / "metrics.csv").unlink()
    assert "nothing held out" in render_page(build_report(collect([tmp_path])))


def test_metrics_that_hold_no_fraction_leave_the_figure_of_masks_out(tmp_path):
    folder = make_run(tmp_path / "one")
    (group,) = groups_of(collect([tmp_path]).runs)
    name = "masks-by-epoch"
    assert any(name in plot.name for plot in training_figures(group))
    path = folder / "metrics.csv"
    path.write_text(
        re.sub(r"^(1,.*)$", lambda row: re.sub(r"0\.\d+", "7.5", row[0]), path.read_text(), flags=re.MULTILINE)
    )
    (group,) = groups_of(collect([tmp_path]).runs)
    assert not any(name in plot.name for plot in training_figures(group))
