"""The options of every command in Markdown, from the parsers that ``dmg`` itself uses."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator

from domain_masks.cli.data import ACTIONS
from domain_masks.cli.main import COMMANDS


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return "train", ..., "data check", ... -> its parser, in the order of ``dmg --help``."""
    modules: dict[str, str] = {}
    for command in COMMANDS:
        if command == "data":
            modules |= {f"data {action}": f"data_{action}" for action in ACTIONS}
        else:
            modules[command] = command
    return {name: importlib.import_module(f"domain_masks.cli.{module}").parser() for name, module in modules.items()}


def options_of_all_commands() -> str:
    """Return a section per command: what it does, an example, its arguments and options by heading."""
    return "\n\n".join(_command(name, parser) for name, parser in parsers().items())


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    example, _, rest = (parser.epilog or "").partition("\n\n")
    lines = re.sub(r"^  ", "", example.removeprefix("example:\n"), flags=re.MULTILINE)
    parts = [
        f"## dmg {name}",
        f"```{{program}} dmg {name}\n```",
        _text(" ".join((parser.description or "").split())),
        f"```sh\n{lines}\n```",
        _text(rest.replace("\n", " ")),
        *_groups(parser),
    ]
    return "\n\n".join(part for part in parts if part)


def _groups(parser: argparse.ArgumentParser) -> Iterator[str]:
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if argparse.SUPPRESS not in (action.help, action.default)]
        if shown:
            yield f"**{(group.title or 'options').capitalize()}**"
            yield from map(_option, shown)


def _option(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    several = {"*": f"{value}...", "+": f"{value}...", "?": f"[{value}]" if action.option_strings else value}
    shown = "" if action.nargs == 0 else several.get(str(action.nargs), value)
    names = ", ".join(f"{flag} {shown}".rstrip() for flag in action.option_strings) or shown
    return f"```{{option}} {names}\n\n{_text((action.help or '').replace('%%', '%'))}\n```"


def _text(plain: str) -> str:
    """Return plain text in Markdown; words between backticks stay code."""
    parts = plain.split("`")
    return "`".join(
        re.sub(r"([\\*_<>\[\]#|~$])", r"\\\1", part) if i % 2 == 0 else part for i, part in enumerate(parts)
    )
