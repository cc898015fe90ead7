"""The colours of figures and tables, the same in a page, an SVG and a PNG."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Colours of text, of lines that hold no data, of the paper, and of series.

    Cells are tinted with the first series' colour; the second's frames a domain under its own mask.
    """

    text: str
    faint: str
    paper: str
    series: tuple[str, ...]

    @property
    def variables(self) -> dict[str, str]:
        """Name of a style sheet's variable -> colour."""
        numbered = {f"series-{number}": colour for number, colour in enumerate(self.series)}
        return {"text": self.text, "faint": self.faint, "paper": self.paper, **numbered}

    @property
    def css(self) -> str:
        """The variables as text of a style sheet."""
        return ";".join(f"--{name}:{colour}" for name, colour in self.variables.items())


LIGHT = Palette(
    "#1f2328",
    "#c9d0d8",
    "#ffffff",
    ("#0b62a8", "#c2410c", "#0f7b55", "#9333a8", "#a16207", "#0e7490", "#be123c", "#57606a"),
)
DARK = Palette(
    "#e6edf3",
    "#3d444d",
    "#0f141a",
    ("#5eb1f0", "#f59e5b", "#4ecb9a", "#d08be0", "#e0bc4f", "#4fc8de", "#fb7f92", "#9aa4af"),
)
"""Told apart by people who see red and green alike; markers and dashes differ too."""
PLACEHOLDERS = Palette("#010203", "#020304", "#030405", tuple(f"#0{number}1a2b" for number in range(8)))
"""Stand in a drawing for the variables of the page that it will be in."""
MEAN = 7
"""Place of the grey in which a mean, or what is off, is drawn."""
