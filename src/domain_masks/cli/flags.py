"""Flags from the settings' own declarations, YAML below them, and one message for everything that is wrong."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

from domain_masks.errors import InputError, nearest
from domain_masks.records.config import RunConfig, read_config

GROUPS = {
    "data": "data",
    "method": "method",
    "network": "network",
    "training": "training",
    "machine": "machine",
}


class Parser(argparse.ArgumentParser):
    """A parser that raises InputError in place of leaving the program, and suggests the nearest flag."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message and where help is."""
        raise InputError(f"{message}. See `{self.prog} --help`")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments; raises InputError for unknown ones, each with the nearest flag that there is."""
        known, rest = self.parse_known_args(list(arguments))
        if rest:
            flags = [flag for action in self._actions for flag in action.option_strings]
            texts = []
            for word in rest:
                name = word.partition("=")[0]
                guess = nearest(name, flags) if word.startswith("-") else None
                texts.append(repr(word) + (f" (did you mean {guess}?)" if guess else ""))
            self.error(f"unknown argument{'s' if len(rest) > 1 else ''} {', '.join(texts)}")
        return known


def parser_for(verb: str, summary: str, example: str) -> Parser:
    """Return the parser of one verb, with what it does above its flags and an example below."""
    return Parser(
        prog=f"dmg {verb}",
        description=textwrap.fill(summary, 100),
        epilog=f"example:\n{textwrap.indent(textwrap.dedent(example).strip(), '  ')}",
    )


def add_settings(parser: argparse.ArgumentParser, without: Iterable[str] = ()) -> None:
    """Add ``--config`` and a flag for every setting of a run but those in ``without``."""
    parser.add_argument("--config", metavar="FILE", help="settings in YAML; flags win over it")
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for name, field in RunConfig.model_fields.items():
        if name in without:
            continue
        extra = field.json_schema_extra
        group = groups[str(extra["group"])] if isinstance(extra, dict) else parser
        text = (field.description or "").replace("%", "%%")
        if field.default is not None and field.default != () and not isinstance(field.default, bool | dict):
            text += f" (default: {field.default})"
        options: dict[str, Any] = {"dest": name, "default": None, "help": text}
        if _holds(field.annotation, bool):
            group.add_argument(f"--{name}", action="store_const", const=True, **options)
            group.add_argument(f"--no_{name}", action="store_const", const=False, dest=name, help=argparse.SUPPRESS)
        elif name == "sites":
            group.add_argument(f"--{name}", nargs="+", metavar="NAME", **options)
        else:
            group.add_argument(f"--{name}", metavar=_metavar(name, field.annotation), **options)
        if name == "method":
            group.add_argument(
                "--method.NAME", dest="_", metavar="VALUE", help="a setting of the method, as in `dmg methods`"
            )


def _holds(annotation: Any, kind: type) -> bool:
    return annotation is kind or kind in get_args(annotation)


def _metavar(name: str, annotation: Any) -> str:
    choices = [
        str(choice)
        for part in (annotation, *get_args(annotation))
        if get_origin(part) is not None
        for choice in get_args(part)
        if isinstance(choice, str)
    ]
    known = {
        "dataset": "NAME|DIR|MANIFEST",
        "root": "DIR",
        "target": "DOMAIN[,DOMAIN]",
        "weights": "imagenet|none|FILE",
        "size": "PX",
    }
    if name in known:
        return known[name]
    return "|".join(choices) if choices else ("NAME" if name in ("method", "backbone", "boundary") else "VALUE")


def split_method_flags(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take ``--method.NAME VALUE`` and ``--method.NAME=VALUE`` out of the arguments.

    Raises InputError for one without a value.
    """
    rest: list[str] = []
    settings: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if not word.startswith("--method."):
            rest.append(word)
            continue
        name, equals, value = word.removeprefix("--method.").partition("=")
        if not equals:
            found = next(words, None)
            if found is None or found.startswith("--"):
                raise InputError(f"expected a value after --method.{name}, as in `--method.overlap_weight 0.1`")
            value = found
        settings[name] = value
    return rest, settings


def settings_from(
    arguments: argparse.Namespace, method_settings: dict[str, str], base: Path | None = None
) -> dict[str, Any]:
    """Return the settings of a YAML (``--config``, or else ``base``) with the flags on top, unchecked."""
    given = {
        name: value for name, value in vars(arguments).items() if name in RunConfig.model_fields and value is not None
    }
    source = Path(arguments.config) if arguments.config else base
    values = read_config(source) if source is not None else {}
    method = values.get("method", {"name": "dmg"})
    method = {"name": method} if isinstance(method, str) else method
    if not isinstance(method, dict):
        raise InputError(f"method: expected a name or `{{name: dmg, ...}}`, got {method!r}")
    chosen = given.pop("method", None)
    if chosen is not None and chosen != method.get("name"):
        method = {"name": chosen}
    return {**values, **given, "method": {**method, **method_settings}}


def say(line: str) -> None:
    """Print a result on standard output."""
    sys.stdout.write(line + "\n")
