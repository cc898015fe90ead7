"""Flags from the settings' own declarations, YAML below them, and one message for everything that is wrong."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin

from domain_masks.cli.outputs import write
from domain_masks.errors import InputError
from domain_masks.records.config import CHOICES, RunConfig, parse_config, read_settings
from domain_masks.records.spellings import spelled, suggestion, two_spellings
from domain_masks.settings.of_a_run import over
from domain_masks.settings.validation import BENCHMARK_LISTS

if TYPE_CHECKING:
    from domain_masks.progress import ConsoleReporter

GROUPS = {
    "data": "data",
    "method": "method",
    "network": "network",
    "training": "training",
    "machine": "machine",
}


_SEVERAL = {"sites": "NAME", "mean": "X", "std": "X"}
"""Settings that take several words."""
_BY_DATASET = {
    "backbone",
    "weights",
    "epochs",
    "lr",
    "weight_decay",
    "schedule",
    "size",
    "augmentation",
    "head_initialisation",
}


_PLUGIN = "code with a method of one's own, imported first; may be given several times"
_OTHER_NAMES = (
    "Usual other names are taken too (--learning_rate, --batch_size, --num_workers, ...; see docs/configuration.md), and\n"
    "hyphens for underscores in every flag."
)


class Parser(argparse.ArgumentParser):
    """A parser that raises InputError in place of leaving the program, and suggests the nearest flag."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message and where help is."""
        raise InputError(f"{message}{'' if message.endswith('?') else '.'} See `{self.prog} --help`")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments; raises InputError for unknown ones, each with the nearest flag that there is."""
        known, mistakes = self.parse_and_note(arguments)
        if mistakes:
            self.error("\n  ".join(mistakes))
        return known

    def parse_and_note(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parse what can be; also returns a line for every unknown argument, to be reported with other mistakes.

        Flags are taken under their other names too, see :data:`~domain_masks.records.spellings.SYNONYMS`.
        """
        flags = [flag for action in self._actions for flag in action.option_strings]
        words, mistakes = own_names(arguments, flags)
        known, rest = self.parse_known_args(words)
        if getattr(known, "plugin", None):
            from domain_masks.methods.plugins import load_plugins  # noqa: PLC0415

            load_plugins(known.plugin)
        after_flag = False
        for word in rest:
            is_flag = word.startswith("-") and not word.lstrip("-")[:1].isdigit()
            if is_flag:
                name = word.partition("=")[0]
                guess = suggestion(name.lstrip("-"), [flag.lstrip("-") for flag in flags])
                mistakes.append(f"{name}: there is no such flag" + (f": did you mean --{guess}?" if guess else ""))
            elif not after_flag:
                mistakes.append(f"unexpected argument {word!r}")
            after_flag = is_flag or after_flag
        return known, mistakes


def own_names(arguments: Sequence[str], flags: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return arguments with every flag under its own name, and a line for each that is given in two spellings."""
    known = {flag.removeprefix("--") for flag in flags if flag.startswith("--")}
    given: dict[str, str] = {}
    words: list[str] = []
    mistakes: list[str] = []
    for place, word in enumerate(arguments):
        if word == "--":
            return [*words, *arguments[place:]], mistakes
        words.append(word)
        name, equals, value = word.partition("=")
        is_letter = re.fullmatch(r"-[a-z]", word) is not None and word not in flags
        if is_letter or (name.startswith("--") and len(name) > len("--x")):
            own = spelled(name.lstrip("-"), known)
            if own in known:
                if given.setdefault(own, name) != name:
                    mistakes.append(two_spellings(given[own], name))
                words[-1] = f"--{own}{equals}{value}"
    return words, mistakes


def parser_for(verb: str, summary: str, example: str) -> Parser:
    """Return the parser of one verb, with what it does above its flags and an example below."""
    parser = Parser(
        prog=f"dmg {verb}",
        description=textwrap.fill(summary, 100),
        epilog=f"example:\n{textwrap.indent(textwrap.dedent(example).strip(), '  ')}",
    )
    plugin = parser.add_argument("--plugin", action="append", metavar="FILE.py|MODULE", help=_PLUGIN)
    completed_by(plugin, files=True)
    return parser


def completed_by(
    action: argparse.Action, *, files: bool = False, folders: bool = False, words: Iterable[str] = ()
) -> None:
    """Note what `dmg completion` offers as the value of a flag."""
    action.completion = "file" if files else "directory" if folders else tuple(words)  # type: ignore[attr-defined]


def add_config(parser: argparse.ArgumentParser, help_text: str) -> None:
    """Add ``--config``."""
    completed_by(parser.add_argument("--config", metavar="FILE", help=help_text), files=True)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add ``--quiet`` and ``--verbose``."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quiet", action="store_true", help="show the result alone")
    group.add_argument(
        "--verbose",
        action="store_true",
        help="show every setting in use, more numbers, warnings of libraries, and where errors come from",
    )


def reporter_for(arguments: argparse.Namespace) -> ConsoleReporter:
    """Return where a verb's words go, by its ``--quiet``."""
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    return ConsoleReporter(arguments.quiet)


def add_settings(parser: argparse.ArgumentParser, without: Iterable[str] = ()) -> None:
    """Add ``--config`` and a flag for every setting of a run but those in ``without``."""
    add_config(parser, "settings in YAML; flags win over it")
    parser.epilog = f"{parser.epilog or ''}\n\n{_OTHER_NAMES}"
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for name, field in RunConfig.model_fields.items():
        if name in (*without, "plugin"):
            continue
        extra = field.json_schema_extra
        group = groups[str(extra["group"])] if isinstance(extra, dict) else parser
        text = (field.description or "").replace("%", "%%")
        if field.default is not None and field.default != () and not isinstance(field.default, bool | dict):
            text += f" (default: {field.default})"
        elif name in _BY_DATASET:
            text += " (default: by dataset, shown by --print_config)"
        options: dict[str, Any] = {"dest": name, "default": None, "help": text}
        if _holds(field.annotation, bool):
            # Shown is what changes something; the other is there to win over a YAML.
            hidden = {**options, "help": argparse.SUPPRESS}
            negative = {**options, "help": f"do not {text}" if field.default is True else f"not: {text}"}
            group.add_argument(
                f"--{name}", action="store_const", const=True, **(hidden if field.default is True else options)
            )
            group.add_argument(
                f"--no_{name}", action="store_const", const=False, **(hidden if field.default is False else negative)
            )
        elif name in _SEVERAL:
            group.add_argument(f"--{name}", nargs="+", metavar=_SEVERAL[name], **options)
        else:
            action = group.add_argument(f"--{name}", metavar=_metavar(name, field.annotation), **options)
            is_path = name in ("root", "dataset", "weights", "init_from")
            completed_by(
                action,
                files=name == "weights",
                folders=is_path and name != "weights",
                words=_choices(name, field.annotation),
            )
        if name == "method":
            group.add_argument(
                "--method.NAME", dest="_", metavar="VALUE", help="a setting of the method, as in `dmg methods`"
            )


def _holds(annotation: Any, kind: type) -> bool:
    return annotation is kind or kind in get_args(annotation)


def _choices(name: str, annotation: Any) -> list[str]:
    """Return the words that a setting can be, where they are declared."""
    if name in CHOICES:
        return list(CHOICES[name]())
    return [
        str(choice)
        for part in (annotation, *get_args(annotation))
        if get_origin(part) is not None
        for choice in get_args(part)
        if isinstance(choice, str)
    ]


def _metavar(name: str, annotation: Any) -> str:
    known = {
        "dataset": "NAME|DIR|MANIFEST",
        "root": "DIR",
        "target": "DOMAIN[,DOMAIN]",
        "weights": "imagenet|none|FILE",
        "size": "PX",
        "batch": "N|auto",
        "init_from": "RUN",
        "value_range": "LOW,HIGH|dataset",
    }
    if name in known:
        return known[name]
    choices = _choices(name, annotation)
    return "|".join(choices) if choices else ("NAME" if name in ("method", "backbone", "boundary") else "VALUE")


def split_method_flags(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take ``--method.NAME VALUE`` and ``--method.NAME=VALUE`` out of the arguments.

    Raises InputError for one without a value.
    """
    rest: list[str] = []
    settings: dict[str, str] = {}
    given: dict[str, str] = {}
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
        own = name.replace("-", "_")
        if given.setdefault(own, name) != name:
            raise InputError(two_spellings(f"--method.{given[own]}", f"--method.{name}"))
        settings[own] = value
    return rest, settings


def settings_from(
    arguments: argparse.Namespace, method_settings: dict[str, str], base: Path | None = None
) -> dict[str, Any]:
    """Return the settings of a YAML (``--config``, or else ``base``) with the flags on top, unchecked."""
    given = {
        name: value for name, value in vars(arguments).items() if name in RunConfig.model_fields and value is not None
    }
    source = Path(arguments.config) if arguments.config is not None else base
    values = read_settings(source, (*RunConfig.model_fields, *BENCHMARK_LISTS)) if source is not None else {}
    chosen = {"name": given["method"]} if "method" in given else {}
    if chosen or method_settings:
        given["method"] = {**chosen, **method_settings}
    return over(values, given)


def own_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of a verb that has names of its own: those of ``--config`` with the flags on top, unchecked."""
    values = read_settings(Path(arguments.config), vars(arguments)) if arguments.config is not None else {}
    output = ("config", "quiet", "verbose", "plugin")
    given = {name: value for name, value in vars(arguments).items() if name not in output and value not in (None, [])}
    return {**values, **given}


def data_settings(arguments: argparse.Namespace, names: Sequence[str] = ("dataset", "root")) -> RunConfig:
    """Return the settings ``names`` of ``--config`` with the flags on top, checked, for a verb that uses no others.

    What was given stands in ``model_fields_set``. Raises InputError with a line per mistake.
    """
    values = read_settings(Path(arguments.config)) if arguments.config is not None else {}
    flags = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    given = {name: value for name, value in {**values, **flags}.items() if name in names and value is not None}
    return parse_config(given)


def say(line: str) -> None:
    """Print a result on standard output."""
    encoding = sys.stdout.encoding or "utf-8"
    # A terminal of another alphabet shows a question mark rather than an error.
    write(line.encode(encoding, "replace").decode(encoding) + "\n")
