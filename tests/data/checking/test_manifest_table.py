"""What is wrong with manifests, and that training agrees."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from check_rows import QUIET, codes, report_of
from domain_masks.data import load_dataset, split_domains
from domain_masks.data.checking import check
from domain_masks.data.checking.examination import open_index
from domain_masks.data.checking.occurrences import Occurrence
from domain_masks.data.checking.tree import walk
from domain_masks.errors import InputError
from trees_of_images import DOMAINS, clean


@pytest.fixture
def tree(tmp_path):
    return clean(tmp_path / "animals")


def manifest(tree, **changes):
    rows = [path.split("/") for path in walk(tree).images]
    table = pd.DataFrame(
        {
            "path": ["/".join(row) for row in rows],
            "label": [row[1] for row in rows],
            "domain": [row[0] for row in rows],
        }
    )
    for name, change in changes.items():
        table[name] = change(table) if callable(change) else change
    return table


def written(tree, table, name="list.csv"):
    path = tree / name
    table.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    return path


@pytest.mark.parametrize("name", ["list.csv", "list.tsv"])
def test_a_clean_manifest_has_no_findings(tree, name):
    splits = np.array(["train", "val", "test"])[np.arange(60) % 3]
    table = manifest(tree, split=splits, group=lambda table: table["split"] + table["domain"])
    report = report_of(written(tree, table, name))
    assert report.findings == ()
    assert report.counts.loc["cat", "photo"] == 10


def test_a_manifest_relative_to_another_folder(tree, tmp_path):
    path = written(tmp_path, manifest(tree))
    assert codes(report_of(path).findings) == {"unopened": "error"}
    assert report_of(path, tree).findings == ()


MANIFESTS = {
    "column": (lambda table: table.rename(columns={"label": "lable"}), {"manifest-column": "error"}),
    "unused": (lambda table: table.assign(weight=1), {"manifest-unused": "note"}),
    "blank": (lambda table: table.assign(label=["", *table["label"][1:]]), {"manifest-blank": "error"}),
    "twice": (lambda table: pd.concat([table, table[:1]]), {"manifest-twice": "error"}),
    "split": (lambda table: table.assign(split=["trian"] + ["train"] * 59), {"manifest-split": "error"}),
    "splits in other words": (lambda table: table.assign(split=["Train", " VALIDATION ", "Test"] * 20), {}),
    "blanks around some cells": (lambda table: table.assign(label=table["label"] + ["", " "] * 30), {}),
    "group": (
        lambda table: table.assign(split=["train", "test"] * 30, group=[*"abb"] * 20),
        {"group-divided": "error"},
    ),
    "two groups in every domain": (
        lambda table: table.assign(group=table["domain"] + [*"ab"] * 30),
        {"few-groups": "error"},
    ),
    "two groups in one domain": (
        lambda table: table.assign(
            group=[f"{name}{row % (2 if name == 'art' else 3)}" for row, name in enumerate(table["domain"])]
        ),
        {"few-groups": "warning"},
    ),
    "groups in several domains": (
        lambda table: table.assign(group=[*"abcdef"] * 10),
        {"group-across-domains": "warning"},
    ),
    "official groups in several domains": (
        lambda table: table.assign(split=["train", "val", "test"] * 20, group=[*"abcdef"] * 10),
        {},
    ),
    "one group to draw validation from": (
        lambda table: table.assign(split=["train", "test"] * 30, group=table["domain"] + [*"ab"] * 30),
        {"few-groups": "error"},
    ),
    "missing file": (lambda table: table.replace("art/cat/0.png", "art/cat/99.png"), {"unopened": "error"}),
    "from 1": (lambda table: table.replace({"cat": "1", "dog": "2"}), {"labels-from-1": "note"}),
    "gaps": (lambda table: table.replace({"cat": "0", "dog": "2"}), {"label-gaps": "warning"}),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_what_is_wrong_with_manifests(tree, name):
    change, expected = MANIFESTS[name]
    findings = report_of(written(tree, change(manifest(tree)))).findings
    counts = {"few-images"}
    assert {code: severity for code, severity in codes(findings).items() if code not in counts} == expected


@pytest.mark.parametrize(
    ("name", "guess"),
    [("weight", ""), ("Label", "differs from the column 'label', which is used, in case, blanks or quotes alone")],
)
def test_only_a_column_like_a_used_one_is_said_to_differ_from_it(tree, name, guess):
    findings = report_of(written(tree, manifest(tree, **{name: "x"}))).findings
    assert [finding.occurrences for finding in findings] == [(Occurrence((name,), guess),)]


def test_a_misspelt_column_is_recognised(tree):
    findings = report_of(written(tree, manifest(tree).rename(columns={"label": "lable"}))).findings
    assert findings[0].occurrences == (Occurrence(("label",), "perhaps it is the column 'lable'"),)


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_check_and_training_agree_on_manifests(tree, name):
    change, expected = MANIFESTS[name]
    path = written(tree, change(manifest(tree)))
    refused = 0
    for target in DOMAINS:
        try:
            split_domains(load_dataset(path), [target])
        except InputError:
            refused += 1
    # With the groups of all three domains in all of them, none can be held out; the three together could.
    at_most = {code: severity for code, severity in expected.items() if code not in ("label-gaps", "labels-from-1")}
    assert bool({"error", "warning"} & set(at_most.values())) == (refused > 0)
    if "group-across-domains" not in expected:
        assert ("error" in expected.values()) == (refused == len(DOMAINS))


def test_a_check_reads_what_training_reads(tree):
    table = manifest(tree, split=["train", "Valid", "TEST"] * 20)
    path = written(tree, table.assign(path=f"{tree}/" + table["path"]))
    index = open_index(str(path), None)
    dataset = load_dataset(path)
    assert index.name == dataset.name == "list.csv"
    assert tuple(image.path for image in index.images) == dataset.ids
    assert [image.split for image in index.images] == dataset.splits.tolist()


def test_what_the_loader_has_against_a_manifest_is_said(tree, monkeypatch):
    def refuse(name, root):
        raise InputError("it is Monday.")

    monkeypatch.setattr("domain_masks.data.checking.examination.load_dataset", refuse)
    assert codes(report_of(written(tree, manifest(tree))).findings) == {"refused": "error"}


def test_a_manifest_that_is_no_table(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "odd.csv").write_bytes(b"\xff\x00\x01")
    (tmp_path / "bare.csv").write_text("path,label,domain\n")
    for name, words in {
        "empty.csv": "is empty",
        "odd.csv": "is not UTF-8",
        "missing.csv": "does not exist: expected a table",
    }.items():
        with pytest.raises(InputError, match=f"{name}.*{words}"):
            report_of(tmp_path / name)
    assert codes(report_of(tmp_path / "bare.csv").findings) == {"refused": "error"}


def test_the_text_nan_in_a_manifest_is_found(tree):
    lines = [f"{path.relative_to(tree)},{path.parts[-2]},{path.parts[-3]}" for path in sorted(tree.glob("*/*/*"))]
    lines[3] = lines[3].replace(",cat,", ",NaN,")
    file = tree.parent / "list.csv"
    file.write_text("\n".join(["path,label,domain", *lines]))
    assert codes(check(str(file), tree, 0, QUIET).findings)["no-name"] == "error"
