"""The tables in docs/results/ are those that results/tables.py makes of the runs in results/."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted((REPOSITORY / "docs" / "results").glob("*.md"))


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results_tables", REPOSITORY / "results" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_of_a_page_are_made_of_the_runs(page: Path, tables: ModuleType) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.with_tables(text) == text, f"{page}: run `python results/tables.py`"


def test_every_table_is_on_a_page_and_every_file_in_a_table(tables: ModuleType) -> None:
    shown = {name for page in PAGES for name in re.findall(r"<!-- table: (\S+) -->", page.read_text(encoding="utf-8"))}
    assert shown == set(tables.TABLES)
    assert {path.stem for path in (REPOSITORY / "results").glob("*.csv")} <= {
        name for name in shown if (REPOSITORY / "results" / f"{name}.csv").exists()
    }


def test_means_and_deviations_are_over_seeds_with_all_domains(tables: ModuleType) -> None:
    rows = [
        ("dmg", "a", 0, 0.5),
        ("dmg", "b", 0, 0.7),
        ("dmg", "a", 1, 0.6),
        ("dmg", "b", 1, 0.9),
        ("dmg", "a", 2, 0.1),
    ]
    runs = pd.DataFrame(rows, columns=["method", "held_out", "seed", "out_of_domain"])
    (row,) = tables.accuracies(runs, "out_of_domain").to_dict("records")
    assert row == {
        "method": "`dmg`",
        "a": "40.00 ± 26.46",
        "b": "80.00 ± 14.14",
        "overall": "67.50 ± 10.61",
        "seeds": 2,
    }


def test_runs_of_several_settings_are_not_averaged(tables: ModuleType) -> None:
    rows = [("dmg", "dmg, average none", "a", 0, 0.5), ("dmg", "dmg, average ema", "a", 0, 0.7)]
    runs = pd.DataFrame(rows, columns=["method", "setting", "held_out", "seed", "out_of_domain"])
    with pytest.raises(ValueError, match="duplicate"):
        tables.accuracies(runs, "out_of_domain")
    assert len(tables.accuracies(runs, "out_of_domain", by="setting")) == 2
