"""``dmg methods``."""

from __future__ import annotations

import ast
import inspect
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from domain_masks.cli.flags import command_parser, read_command
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.settings.listings import MethodsSettings

if TYPE_CHECKING:
    from domain_masks.methods import Description

_WIDTH = 100
_HEADER = ("method", "family", "needs", "sources", "rows", "cost", "paper")
_LEGEND = (
    "needs: images, as they are changed or F is trained at each step; features of F, which is never trained; or either, "
    "so that --freeze_features can be used. sources: fewest source domains. rows: fewest images of every source in a batch. "
    "cost: time of a training step relative to aggregate, as measured; empty for closed-form methods. "
    "`dmg methods NAME` shows what a method does, and its settings."
)


def parser() -> Parser:
    """Return the parser of ``dmg methods``."""
    return command_parser(
        "methods",
        "Lists the algorithms: what they need, what they cost, and where they were published. Of those that are named it shows "
        "what they do, and their settings with defaults and the ranges from which `dmg benchmark --search` draws.",
        """
        dmg methods
        dmg methods dmg aggregate
        """,
        MethodsSettings,
    )


def main(arguments: Sequence[str]) -> int:
    """List the algorithms, or show some with their settings."""
    _, settings = read_command(parser(), arguments, MethodsSettings)

    from domain_masks.methods.method_registry import METHODS, described  # noqa: PLC0415

    width = shutil.get_terminal_size((_WIDTH, 24)).columns
    if not settings.names:
        for line in _table({name: described(name) for name in METHODS}, width):
            say(line)
        return 0
    for name, method in [(name, described(name)) for name in settings.names]:
        for line in _details(name, method, width):
            say(line)
        say("")
    return 0


def _table(methods: dict[str, type[Description]], width: int) -> Iterator[str]:
    rows = [_HEADER]
    for name, method in methods.items():
        rows_needed = str(method.rows_per_domain or "")
        needs = (method.needs, str(method.fewest_sources), rows_needed)
        rows.append((name, method.family, *needs, method.cost, _short_paper(method)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    # Only the last column is cut where the table is wider than the terminal.
    widths[-1] = max(len(_HEADER[-1]), width - sum(widths[:-1]) - 2 * (len(widths) - 1))
    for row in rows:
        cells = [f"{cell:<{size}}" for cell, size in zip(row[:-1], widths[:-1], strict=True)]
        last = row[-1] if len(row[-1]) <= widths[-1] else f"{row[-1][: max(0, widths[-1] - 3)]}..."
        yield "  ".join([*cells, last]).rstrip()
    yield ""
    yield from textwrap.wrap(_LEGEND, width)


def _short_paper(method: type[Description]) -> str:
    """Return the first authors and the venue."""
    authors = [author.strip() for author in method.paper.authors.split(",")]
    named = f"{authors[0]} et al." if len(authors) > 2 else " and ".join(authors)
    return f"{named}, {method.paper.venue}"


def _details(name: str, method: type[Description], width: int) -> Iterator[str]:
    from domain_masks.methods.run_defaults import own_defaults  # noqa: PLC0415

    paper = method.paper
    lines = [f"{name}: {method.summary}", f"  {paper.authors}: {paper.title}. {paper.venue}", f"  {_needs(method)}"]
    if method.cost:
        lines.append(f"  cost: {method.cost} times the step of aggregate, as measured")
    if own := own_defaults(method):
        lines.append(f"  defaults of its own: {', '.join(f'--{key} {value}' for key, value in own.items())}")
    texts = _descriptions(method.Settings)
    for field in fields(method.Settings):
        drawn = method.search.get(f"method.{field.name}")
        text = "; ".join(
            [*filter(None, [texts.get(field.name)]), *([f"searched: {drawn}"] if drawn is not None else [])]
        )
        lines.append(f"  --method.{field.name} (default: {_default(field)})  {text}")
    of_runs = {key: drawn for key, drawn in method.search.items() if not key.startswith("method.")}
    lines += [f"  --{key}  searched: {drawn}" for key, drawn in of_runs.items()]
    for line in lines:
        yield from textwrap.wrap(line, width, subsequent_indent=" " * 6, break_on_hyphens=False, break_long_words=False)


def _needs(method: type[Description]) -> str:
    words = {
        "images": "images, so no frozen features",
        "features": "features of F, which is never trained",
        "either": "images or frozen features",
    }[method.needs]
    sources = f"{method.fewest_sources} source{'s' * (method.fewest_sources > 1)} or more"
    rows = method.rows_per_domain
    batches = f"; {rows} image{'s' * (rows > 1)} of every source in each batch" if rows else ""
    family = f"{method.family}; " if method.family else ""
    return f"{family}needs {words}; {sources}{batches}"


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return "none, it has to be given" if field.default is MISSING else field.default


def _descriptions(kind: type) -> dict[str, str]:
    """Return the sentence below each field of a dataclass and of those that it inherits from."""
    texts: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        # A class that was not read from a file has no source.
        with suppress(OSError, TypeError):
            texts |= _sentences(textwrap.dedent(inspect.getsource(one))) if one is not object else {}
    return texts


def _sentences(source: str) -> dict[str, str]:
    (body,) = ast.parse(source).body
    statements = body.body if isinstance(body, ast.ClassDef) else []
    return {
        statement.target.id: str(following.value.value)
        for statement, following in pairwise(statements)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
    }
