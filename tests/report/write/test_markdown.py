from __future__ import annotations

import re

import pytest

from domain_masks.records.collection import collect
from domain_masks.report import build_report
from domain_masks.report.write.latex import to_latex
from domain_masks.report.write.markdown import escaped as markdown
from domain_masks.report.write.markdown import prose, to_markdown
from report.made_runs import make_benchmark

EVIL = ("<script>alert(1)</script>", 'b"><img src=x onerror=alert(2)>', "c&d_e|f$g", "{{ 7 * 7 }}")


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    out = tmp_path_factory.mktemp("evil")
    make_benchmark(out, {"dmg": 0.8, "aggregate": 0.6}, [0], domains=EVIL, classes=EVIL[:2])
    return build_report(collect([out]))


@pytest.mark.parametrize(
    ("text", "expected"), [("1. x", r"1\. x"), ("- x", r"\- x"), ("+ x", r"\+ x"), ("-1", "-1"), ("a|b", r"a\|b")]
)
def test_markdown_shows_names_as_they_are(text: str, expected: str) -> None:
    assert markdown(text) == expected


def test_only_commands_and_flags_are_code() -> None:
    assert (
        prose("run `dmg train --seed 1` or `--lr_masks`, not `x`")
        == r"run `dmg train --seed 1` or `--lr_masks`, not \`x\`"
    )


def test_names_are_escaped_in_markdown_and_latex(evil):
    text = to_markdown(evil)
    assert "<script>" not in text
    assert r"\<script\>" in text
    for line in text.splitlines():
        if line.startswith("| dmg"):
            assert len(re.findall(r"(?<!\\)\|", line)) >= 3
    latex = "".join(map(to_latex, evil.tables))
    assert r"c\&d\_e\textbar{}f\$g" in latex
    assert not re.search(r"(?<!\\)[_$&]f", latex)
