"""The documentation's table of methods is the one that the methods themselves make."""

from pathlib import Path

from domain_masks.methods import METHODS
from domain_masks.methods.method_registry import described
from domain_masks.methods.run_defaults import own_defaults

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
NEEDS = {"images": "images", "features": "frozen features", "either": "either"}


def row_of(name: str) -> str:
    method = described(name)
    own = ", ".join(f"`--{key} {value}`" for key, value in own_defaults(method).items())
    paper = f"{method.paper.authors}, {method.paper.venue}"
    return f"| `{name}` | {method.summary} | {NEEDS[method.needs]} | {method.cost or '-'} | {own or '-'} | {paper} |"


def test_the_page_lists_every_method_as_it_describes_itself() -> None:
    families: dict[str, list[str]] = {}
    for name in METHODS:
        families.setdefault(described(name).family, []).append(row_of(name))
    text = PAGE.read_text(encoding="utf-8")
    for family, rows in families.items():
        block = "\n".join(rows)
        assert block in text, f"docs/methods.md, {family}: expected these rows:\n{block}"
    assert text.count("\n| `") == len(METHODS)
