"""The colours of figures and tables in HTML, SVG and PNG."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Colours of text, axes and grid (``faint``), background (``paper``) and series.

    Cells are shaded with the first series' colour; the second frames a domain under its own mask.
    """

    text: str
    faint: str
    paper: str
    series: tuple[str, ...]

    @property
    def variables(self) -> dict[str, str]:
        """CSS variable name -> colour."""
        numbered = {f"series-{number}": colour for number, colour in enumerate(self.series)}
        return {"text": self.text, "faint": self.faint, "paper": self.paper, **numbered}

    @property
    def css(self) -> str:
        """The variables as CSS."""
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
"""Distinguishable with red-green colour blindness; markers and dashes differ as well."""
PLACEHOLDERS = Palette("#010203", "#020304", "#030405", tuple(f"#0{number}1a2b" for number in range(8)))
"""Placeholders in a drawing that are replaced by the CSS variables of the page."""
MEAN = 7
"""Index of the grey used for means and inactive units."""
