"""Every command and flag that the documentation, the help and the messages name is one that there is."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from domain_masks.cli.data import ACTIONS
from domain_masks.cli.main import COMMANDS
from domain_masks.methods import METHODS
from domain_masks.records.spellings import SYNONYMS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "configs").rglob("*.*")])
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FLAG = re.compile(r"(?<![\w\-./])(?<!var\()--([a-z][a-z_0-9.]*[a-z0-9])(?![\w:-])")
"""But for variables of style sheets: ``var(--text)``, ``--text:``."""
COMMAND = re.compile(r"\bdmg ((?:data )?[a-z]+)\b([^`\n|#;)]*)")
MISSPELT = {"bacth"}
"""The example of a mistake that is answered with the nearest flag."""
OTHERS = frozenset({"extra", "universal", "no-annotate", "no-header", "upgrade", "strict", "head"})
"""Of uv, mypy and ray, which documents and help also name."""


def flags_of(name: str) -> set[str]:
    """Return the flags of a command or of an action of ``data``, without their hyphens."""
    module = importlib.import_module(f"domain_masks.cli.{name.replace(' ', '_')}")
    known = {"help", "version", "config", "verbose"}
    if hasattr(module, "parser"):
        known |= {flag.lstrip("-") for action in module.parser()._actions for flag in action.option_strings}
    if name in ("train", "benchmark"):
        known |= {f"method.{field.name}" for method in METHODS.values() for field in fields(method.Settings)} | {
            "method.NAME"
        }
    return known


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    return {
        name: flags_of(name)
        for name in [*(command for command in COMMANDS if command != "data"), *(f"data {one}" for one in ACTIONS)]
    }


def texts_of(path: Path) -> Iterator[str]:
    """Yield the strings of a module, those of an f-string joined, without docstrings of parsers of other programs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def named(text: str) -> set[str]:
    return set(FLAG.findall(text)) - MISSPELT


def test_every_flag_of_a_command_in_the_documents_is_one_of_its_verb(known: dict[str, set[str]]) -> None:
    wrong = []
    for path in DOCUMENTS:
        # A command may continue on the next line.
        for found in COMMAND.finditer(path.read_text(encoding="utf-8").replace("\\\n", " ")):
            command = found[1]
            if command in known:
                wrong += [f"{path.name}: dmg {command} --{flag}" for flag in named(found[2]) - known[command]]
    assert wrong == []


def test_every_flag_of_a_command_in_help_and_messages_is_one_of_its_verb(known: dict[str, set[str]]) -> None:
    wrong = []
    for path in SOURCES:
        for text in texts_of(path):
            for found in COMMAND.finditer(text):
                if found[1] in known:
                    wrong += [f"{path.name}: dmg {found[1]} --{flag}" for flag in named(found[2]) - known[found[1]]]
    assert wrong == []


def test_every_flag_that_is_named_anywhere_is_known_to_some_verb(known: dict[str, set[str]]) -> None:
    every = set.union(*known.values()) | OTHERS | {other for others in SYNONYMS.values() for other in others}
    wrong = [f"{path.name}: --{flag}" for path in SOURCES for text in texts_of(path) for flag in named(text) - every]
    assert wrong == []


def test_the_reports_own_advice_names_flags_of_the_command_that_it_names(known: dict[str, set[str]]) -> None:
    from domain_masks.report.tables.footnotes import ONE_SEED  # noqa: PLC0415

    assert named(ONE_SEED) == {"seed", "seeds"}
    assert "seeds" not in known["train"]
    for found in COMMAND.finditer(ONE_SEED):
        assert named(found[2]) <= known[found[1]]
