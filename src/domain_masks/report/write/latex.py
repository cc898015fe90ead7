"""Tables as LaTeX with booktabs; all text is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence

from domain_masks.report.tables.table import NOTHING, Cell, Column, Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "λ": r"$\lambda$",
    NOTHING: "--",
    "`": r"\textasciigrave{}",
    # At the start of a row they would be parsed as arguments of the line break before.
    "[": "{[}",
    "\0": "{}",
    "*": "{*}",
}
_HYPHENS = re.compile("-(?=-)")
_TYPESET = "äöüÄÖÜßéèêáàâíìîóòôúùûñçåøæÅØÆ"
"""Non-ASCII letters that LaTeX supports without packages."""
PREAMBLE = r"% needs \usepackage{booktabs}, \usepackage{xcolor} and \usepackage[T1]{fontenc}"


def to_latex(table: Table) -> str:
    """Return a table environment; numbers chosen by an oracle are red and marked as such."""
    alignment = "".join("r" if column.is_number else "l" for column in table.columns)
    lines = [
        PREAMBLE,
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.title)}.}}",
        rf"\label{{tab:{_label(table.name)}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _row([_head(column) for column in table.columns]),
        r"\midrule",
        *(_row([_cell(cell) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    notes = [f"% {' '.join(note.split())}" for note in table.notes]
    if not all(letter.isascii() or letter in _TYPESET for line in lines for letter in line):
        lines.insert(1, "% contains letters that pdfLaTeX may lack: use XeLaTeX or LuaLaTeX with a suitable font")
    return "\n".join([*lines, *notes]) + "\n"


def escaped(text: str) -> str:
    """Return text escaped for LaTeX, on one line."""
    # Two hyphens would become an en dash.
    plain = _HYPHENS.sub("-\0", " ".join(text.split()))
    return "".join(_SPECIAL.get(letter, letter) for letter in plain)


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _head(column: Column) -> str:
    return escaped(column.title) + (f" {{\\scriptsize {escaped(column.detail)}}}" if column.detail else "")


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    if cell.detail:
        text += f" {{\\scriptsize {escaped(cell.detail)}}}"
    if cell.mark == "oracle":
        marked = text if "oracle" in text else f"{text} (oracle)"
        return rf"\textcolor{{red}}{{{marked}}}"
    if cell.mark == "best":
        return rf"\textbf{{{text}}}"
    return rf"\textit{{{text}}}" if cell.mark == "paper" else text


def _label(name: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter == "-") else "-" for letter in name)
