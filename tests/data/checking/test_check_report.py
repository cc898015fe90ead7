"""What a check found, for people and for machines."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest

from domain_masks.data.checking import CheckReport
from domain_masks.data.checking.occurrences import Finding, Occurrence
from domain_masks.errors import InputError


def a_report(count=12):
    examples = tuple(Occurrence((f"a/x/{n}.png", f"b/x/{n}.png"), "why" if n == 0 else "") for n in range(count))
    counts = pd.DataFrame({"a": [count, 1], "b": [count, 0]}, index=["x", "y"])
    findings = (
        Finding("same-in-domains", "error", "12 images in several domains", "Remove them.", examples),
        Finding("labels-from-1", "note", "labels count from 1", "Nothing."),
    )
    return CheckReport("zoo", "folder zoo", counts, findings)


def test_text_shows_the_first_examples_or_all():
    text = a_report().text()
    assert text.splitlines()[0] == "zoo: 25 images, 2 domains, 2 classes"
    assert "a/x/4.png = b/x/4.png" in text
    assert "a/x/5.png" not in text
    assert "... and 7 more (--all)" in text
    assert text.splitlines()[-1] == "1 error, 1 note"
    assert "a/x/11.png" in a_report().text(everything=True)
    assert "more" not in a_report().text(everything=True)


def test_a_large_table_is_summed_up():
    counts = pd.DataFrame({"a": range(1, 101), "b": range(100)}, index=[f"class {n}" for n in range(100)])
    report = CheckReport("zoo", "folder zoo", counts, ())
    assert "class 57" not in report.text()
    assert "5050" in report.text()
    assert "class 57" in report.text(everything=True)


def test_machines_get_everything(tmp_path):
    report = a_report()
    report.write(tmp_path / "found.json")
    stored = json.loads((tmp_path / "found.json").read_text())
    assert stored["counts"] == {"a": {"x": 12, "y": 1}, "b": {"x": 12, "y": 0}}
    assert [(found["code"], found["count"]) for found in stored["findings"]] == [
        ("same-in-domains", 12),
        ("labels-from-1", 0),
    ]
    assert stored["findings"][0]["examples"][0] == {"paths": ["a/x/0.png", "b/x/0.png"], "detail": "why"}
    report.write(tmp_path / "found.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "found.csv").read_text())))
    assert len(rows) == 25
    assert rows[1] == {
        "severity": "error",
        "code": "same-in-domains",
        "example": "1",
        "path": "b/x/0.png",
        "detail": "why",
    }
    assert rows[-1]["detail"] == "labels count from 1"
    with pytest.raises(InputError, match=r"\.json or \.csv"):
        report.write(tmp_path / "found.txt")
