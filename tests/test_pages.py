"""The pages of the documentation, as files: every link leads somewhere, and every page is in the site."""

from __future__ import annotations

import inspect
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

import domain_masks

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
SITE = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
PAGES = [*sorted(REPOSITORY.glob("*.md")), *SITE, *sorted((REPOSITORY / "configs").rglob("*.md"))]


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@cache
def tokens(path: Path) -> list[Token]:
    blocks = MarkdownIt("gfm-like", {"linkify": False}).parse(path.read_text(encoding="utf-8"))
    return [*blocks, *(child for block in blocks for child in block.children or ())]


def links(path: Path) -> list[str]:
    """Return the addresses of all links and images of a page that are no other site's."""
    written = [
        str(token.attrGet("href") or token.attrGet("src")) for token in tokens(path) if {"href", "src"} & {*token.attrs}
    ]
    html = "".join(token.content for token in tokens(path) if token.type.startswith("html"))
    found = [*written, *re.findall(r'(?:src|srcset|href)="([^"]+)"', html)]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts and the site make them."""
    taken: dict[str, int] = {}
    blocks = tokens(path)
    for opening, heading in pairwise(blocks):
        if opening.type == "heading_open":
            text = "".join(child.content for child in heading.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.lower().strip()).replace(" ", "-")
            taken[slug] = taken.get(slug, -1) + 1
    return {slug if number == 0 else f"{slug}-{number}" for slug, last in taken.items() for number in range(last + 1)}


def trees(path: Path) -> list[Path]:
    """Return the pages that the tables of contents of a page list."""
    fences = [token.content for token in tokens(path) if token.type == "fence" and token.info == "{toctree}"]
    lines = [line for fence in fences for line in fence.splitlines() if line and not line.startswith(":")]
    # The site copies the notebooks from the top of the repository.
    return [
        REPOSITORY / f"{line}.ipynb" if line.startswith("notebooks/") else path.parent / f"{line}.md" for line in lines
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        place, _, anchor = link.partition("#")
        target = (page.parent / unquote(place)).resolve() if place else page
        if not target.exists() or not target.is_relative_to(REPOSITORY) or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken, f"{name_of(page)}: expected links to files of the repository and headings of pages"


def test_links_and_anchors_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# `dmg data`: a\n## Two\n## Two\n[a](b.md#c) ![d](e.png) [out](https://example.org)\n\n| a |\n|---|\n| [f](g) |\n\n"
        '<img src="h.png">\n\n```sh\n[not](this)\n```\n'
    )
    assert links(page) == ["b.md#c", "e.png", "g", "h.png"]
    assert anchors(page) == {"dmg-data-a", "two", "two-1"}


def test_every_page_is_in_the_site() -> None:
    reached, new = set(), {DOCS / "index.md"}
    while new:
        reached |= new
        new = {entry for page in new if page.is_file() for entry in trees(page)} - reached
    entries = [name_of(entry) for page in sorted(reached) if page.is_file() for entry in trees(page)]
    assert len(entries) == len({*entries}), (
        f"pages listed twice: {sorted({e for e in entries if entries.count(e) > 1})}"
    )
    missing = [name_of(path) for path in sorted(reached) if not path.is_file()]
    assert not missing, f"docs/index.md and the pages below list {missing}, which are not there"
    hidden = [name_of(path) for path in (*SITE, *NOTEBOOKS) if path not in reached]
    assert not hidden, f"expected every page in a toctree: add {hidden} under a heading of docs/index.md"


def test_the_reference_has_every_public_module() -> None:
    modules = {name for name in domain_masks.__all__ if inspect.ismodule(getattr(domain_masks, name))}
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md")}
    missing = {name for name in modules if f"automodule:: domain_masks.{name}\n" not in pages.get(name, "")}
    assert not missing, "expected a page docs/reference/NAME.md with an automodule for every public submodule"


def test_the_readme_begins_with_two_commands() -> None:
    fences = [token.content for token in tokens(REPOSITORY / "README.md") if token.type == "fence"]
    commands = [line.split("#")[0].strip() for line in "\n".join(fences).splitlines()]
    assert commands[:2] == ["make digits", "make test"]
