from __future__ import annotations

import re

import pytest

from domain_masks.report.tables.table import Cell, Column, Table, text_cell, typed
from domain_masks.report.write.latex import escaped as latex
from domain_masks.report.write.latex import to_latex


def table(*cells, columns=("method", "accuracy")):
    frame = typed([{"accuracy": 1 / 3}], {"accuracy": "Float64"})
    return Table(
        "t", "A & B_c", [Column(name, is_number=place > 0) for place, name in enumerate(columns)], [cells], frame
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_amazon", r"\_amazon"),
        ("50% #1 & $x$", r"50\% \#1 \& \$x\$"),
        ("a--b---c", "a-{}-b-{}-{}-c"),
        ("[x]*", "{[}x]{*}"),
        ("`x`", r"\textasciigrave{}x\textasciigrave{}"),
        ("a – b", "a -- b"),
    ],
)
def test_latex_sets_names_as_they_are(text: str, expected: str) -> None:
    assert latex(text) == expected


def test_a_row_that_begins_with_a_bracket_is_no_argument_of_the_row_before() -> None:
    import pandas as pd  # noqa: PLC0415

    rows = [[text_cell("a")], [text_cell("[b]")], [text_cell("*c")]]
    made = to_latex(Table("t", "T", [Column("x", is_number=False, detail="n = 3")], rows, pd.DataFrame()))
    assert not re.search(r"\\\\\s*[\[*]", made)
    assert r"x {\scriptsize n = 3}" in made


def test_latex_is_booktabs():
    latex = to_latex(table(Cell("100 %"), Cell("−1.5 ± 0.2", 1)))
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{A \& B\_c.}"):
        assert rule in latex
    assert r"100 \% & $-$1.5 $\pm$ 0.2 \\" in latex
