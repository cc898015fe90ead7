"""``dmg methods``."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise

from domain_masks.cli.flags import Parser, add_config, parser_for, say


def parser() -> Parser:
    """Return the parser of ``dmg methods``."""
    parser = parser_for(
        "methods", "Lists the algorithms, where they come from, and their settings with defaults.", "dmg methods dmg"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="methods to show (default: all)")
    add_config(parser, "not used by this verb")
    return parser


def main(arguments: Sequence[str]) -> int:
    """List the algorithms with their papers and settings."""
    flags = parser().parse(arguments)

    from domain_masks.methods.table import METHODS, described  # noqa: PLC0415

    for name in flags.names or METHODS:
        method = described(name)
        say(f"{name}: {method.summary}")
        say(f"  {method.paper.authors}: {method.paper.title}. {method.paper.venue}")
        texts = _descriptions(method.Settings)
        for field in fields(method.Settings):
            say(f"  --method.{field.name} (default: {field.default})  {texts.get(field.name, '')}")
        say("")
    return 0


def _descriptions(kind: type) -> dict[str, str]:
    """Return the sentence below each field of a dataclass."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    texts = {}
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for statement, following in pairwise(statements):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            texts[statement.target.id] = str(following.value.value)
    return texts
