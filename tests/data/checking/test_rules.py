"""The table of rules: every sentence can be filled in wherever it is used, and none is left over."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from domain_masks.data import checking
from domain_masks.data.checking.occurrences import Occurrence, finding, findings
from domain_masks.data.checking.rules import RULES, SEVERITIES
from domain_masks.data.decoding import ProblemKind

AGREEING = {"count", "are", "their"}
DYNAMIC = {
    *get_args(ProblemKind),
    *(f"similar-{kind}" for kind in ("classes", "domains", "groups")),
    *(f"manifest-{kind}" for kind in ("blank", "split", "twice")),
}
"""Codes that are put together where they are used; their sentences need no words."""
NUMBERS = {"single-domain", "two-domains"}
COPIES = {"files", "differences", "where"}


def words_of(code: str) -> set[str]:
    texts = (RULES[code].what, RULES[code].advice)
    return {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name} - AGREEING


def uses() -> Iterator[tuple[str, set[str]]]:
    """Yield every code that is written out in a call, with the words that are given."""
    for path in Path(checking.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("finding", "findings", "_copies"):
                given = COPIES if node.func.id == "_copies" else {word.arg for word in node.keywords}  # type: ignore[attr-defined]
                if isinstance(node.args[0], ast.Constant):
                    yield node.args[0].value, {word for word in given if word} - {"severity"}  # type: ignore[misc]


def test_words_are_given_for_every_sentence() -> None:
    for code, given in uses():
        assert words_of(code) <= given, code


def test_every_rule_is_used() -> None:
    assert {code for code, _ in uses()} | DYNAMIC | NUMBERS == set(RULES)
    assert all(not words_of(code) for code in DYNAMIC)
    assert {rule.severity for rule in RULES.values()} == set(SEVERITIES)


@pytest.mark.parametrize(
    ("paths", "what"),
    [(["b", "a"], "2 listed images that are missing"), (["a"], "1 listed image that is missing")],
)
def test_a_sentence_agrees_with_its_number_and_paths_are_sorted(paths: list[str], what: str) -> None:
    found = finding("list-absent", paths)
    assert (found.what, found.severity) == (what, "warning")
    assert found.occurrences == tuple(Occurrence((path,)) for path in sorted(paths))
    assert findings("list-absent", []) == []
