"""HTML by which objects are shown in a notebook: tables and images, with every text escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

MOST_ROWS = 20


def html_block(title: str, *parts: str) -> str:
    """Return a heading, escaped, and below it parts of HTML; empty ones are left out."""
    return f"<div><p><strong>{escape(title)}</strong></p>{''.join(parts)}</div>"


def html_table(head: Sequence[str], rows: Iterable[Sequence[object]], most: int = MOST_ROWS) -> str:
    """Return a table with the first ``most`` rows, and how many more there are; cells are escaped.

    A cell of HTML is given as :class:`Html`; fractions are shown as they are, None as an empty cell.
    """
    listed = list(rows)
    if not listed:
        return ""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in listed[:most])
    more = f"<p>{len(listed) - most:,} more rows</p>" if len(listed) > most else ""
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>{more}"


def html_lines(lines: Iterable[str]) -> str:
    """Return a paragraph per line, escaped."""
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def html_image(content: bytes, kind: str, about: str, width: str = "auto") -> Html:
    """Return an image that is part of the page.

    - ``kind``: such as ``png`` or ``svg+xml``; ``about``: its text for those who do not see it; ``width``: in CSS
    """
    data = base64.b64encode(content).decode("ascii")
    return Html(
        f'<img src="data:image/{kind};base64,{data}" alt="{escape(about)}" style="width:{width};max-width:100%">'
    )


class Html(str):
    """A text that is HTML, and is not escaped again."""

    __slots__ = ()


def percent(fraction: float | None) -> str:
    """Return a fraction as a number in percent; empty for None."""
    return "" if fraction is None else f"{100 * fraction:.2f}"


def _cell(value: object) -> str:
    if isinstance(value, Html):
        return value
    return "" if value is None else escape(str(value))
