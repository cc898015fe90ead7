import pytest

from domain_masks.records.collection import collect
from domain_masks.records.config import parse_config
from domain_masks.report import build_report
from domain_masks.report.runs.accuracies import overall, summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.runs.paper_numbers import paper_number
from domain_masks.report.tables.accuracy_tables import by_target, side_by_side
from domain_masks.report.tables.paper_tables import comparison, published_section
from domain_masks.report.tables.significance import pairs
from domain_masks.report.tables.table import Table
from domain_masks.report.write.markdown import to_markdown
from domain_masks.report.write.page import render_page
from report.made_runs import DMG, DOMAINS, PAPER_CONFIG, make_benchmark, make_run

SIX = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
DOMAINNET = {
    **PAPER_CONFIG,
    "dataset": "domainnet",
    "augmentation": "standard",
    "weight_decay": 0.0,
    "schedule": "inverse",
    "head_initialisation": "normal",
}


def shown(path, measure="out_of_domain", **only):
    """Return the rows of a report's accuracies that have a number of the paper, by line and held-out domain."""
    (group,) = groups_of(collect([path]).runs)
    frame = summary(group)
    frame = frame[
        (frame["measure"] == measure) & (frame["ensemble"] == "predictions") & frame["paper_accuracy"].notna()
    ]
    return group, {(row["line"], row["held_out"]): row["paper_accuracy"] for row in frame.to_dict("records")}


def words(group):
    """Return the paragraphs of the comparison, and its differences as "setting: here (methods)"."""
    texts = []
    for block in comparison(group):
        if isinstance(block, Table):
            texts += [f"{row[0].text}: {row[2].text} ({row[3].text})" for row in block.rows]
        else:
            texts.append(block.text)
    return "\n".join(texts)


def config(**changes):
    method = {"name": "dmg", **DMG, **changes.pop("settings", {})}
    return {**parse_config({**PAPER_CONFIG, "target": "sketch", "method": method}).to_dict(), **changes}


def test_the_papers_setting_keeps_its_own_row_beside_the_papers_number(papers_among):
    (group,) = groups_of(papers_among.runs)
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


def test_the_papers_overall_stands_beside_all_four_domains_alone(tmp_path):
    for target in ("photo", "sketch"):
        make_run(tmp_path / target, "dmg", target)
    group, found = shown(tmp_path)
    assert set(found) == {("dmg", "photo"), ("dmg", "sketch")}
    assert "without art_painting, cartoon" in words(group)
    assert "photo, sketch" in words(group)
    assert not any("paper" in column.title for column in side_by_side(group, summary(group)).columns)
    for text in (to_markdown(build_report(collect([tmp_path]))), render_page(build_report(collect([tmp_path])))):
        assert f"{100 * found['dmg', 'sketch']:.2f}" in text
        assert text.count("81.46") == 2  # the overall, in the paper's own Tables 2 and 6
    for target in ("art_painting", "cartoon"):
        make_run(tmp_path / target, "dmg", target)
    _, found = shown(tmp_path)
    assert found["dmg", "overall"] == 0.8146


def test_domainnet_without_some_domains_is_beside_nothing(tmp_path):
    for target in SIX[:3]:
        make_run(tmp_path / "three" / target, "aggregate", target, config=DOMAINNET, domains=SIX[:3])
        make_run(tmp_path / "six" / target, "aggregate", target, config=DOMAINNET, domains=SIX)
    group, found = shown(tmp_path / "three")
    assert found == {}
    assert "source domains" in words(group)
    _, found = shown(tmp_path / "six")
    assert set(found) == {("aggregate", target) for target in SIX[:3]}
    for target in SIX[3:]:
        make_run(tmp_path / "six" / target, "aggregate", target, config=DOMAINNET, domains=SIX)
    assert ("aggregate", "overall") in shown(tmp_path / "six")[1]
    # The paper's accuracies in domain are of test images, and these are of validation images.
    assert shown(tmp_path / "six", "in_domain")[1] == {}


def test_one_domain_of_another_protocol_takes_its_number_and_the_overall(tmp_path):
    for target in DOMAINS:
        changes = {"precision": "bf16"} if target == "photo" else {}
        make_run(
            tmp_path / target, "multi_headed", target, config=PAPER_CONFIG | changes, settings={"average": "logits"}
        )
    group, found = shown(tmp_path)
    assert set(found) == {("multi_headed", target) for target in DOMAINS if target != "photo"}
    assert "precision: bf16" in words(group)


def test_a_difference_is_listed_once_with_the_methods_that_have_it(tmp_path):
    for method in ("dmg", "aggregate"):
        for target in DOMAINS:
            changes = {"size": 128, "sampling": "balanced" if method == "dmg" else "pooled"}
            make_run(tmp_path / method / target, method, target, config=PAPER_CONFIG | changes)
    (group,) = groups_of(collect([tmp_path]).runs)
    lines = words(group).split("\n")
    assert "dmg, aggregate: not comparable with the paper's numbers." in lines or (
        "aggregate, dmg: not comparable with the paper's numbers." in lines
    )
    assert [line for line in lines if line.startswith("size")] == ["size: 128 (all)"]
    assert [line for line in lines if line.startswith("sampling")] == ["sampling: balanced (dmg)"]


def test_a_setting_that_an_oracle_chose_is_beside_nothing(tmp_path):
    for weight, right in ((0.1, 0.9), (1.0, 0.5)):
        make_benchmark(tmp_path / str(weight), {"dmg": right}, [0], settings={"overlap_weight": weight})
    (group,) = groups_of(collect([tmp_path]).runs, "oracle")
    frame = overall(summary(group)).set_index("line")
    assert frame["paper_accuracy"].isna()["dmg"]
    assert frame.loc["dmg, the paper's setting", "paper_accuracy"] == 0.8146
