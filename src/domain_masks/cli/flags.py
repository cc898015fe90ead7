"""Flags from the settings models: help, values and names come from the declaration of each setting."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from domain_masks.cli.parser import Parser
from domain_masks.records.config import AUTO, RunConfig, read_settings
from domain_masks.records.setting_types import Metavar, OneOf, flag_of
from domain_masks.settings.benchmark import BENCHMARK_LISTS
from domain_masks.settings.command import Command, check_command
from domain_masks.settings.of_a_run import over

if TYPE_CHECKING:
    from domain_masks.progress import ConsoleReporter

GROUPS = ("runs", "data", "model", "method", "optimisation", "hardware", "output")
"""The headings of help, in their order."""
RUN_YAML = "settings in YAML, also those of a run, of which the flags below are used"
_WIDTH = 100
_PLUGIN = "a Python file or module with your own method, imported first; may be repeated"
_OTHER_NAMES = (
    "Common other names are accepted too (--learning_rate, --batch_size, --num_workers, ...; see docs/configuration.md),\n"
    "and hyphens for underscores in every flag."
)
_BY_TYPE: Mapping[Any, str] = {int: "N", float: "X", str: "NAME", Path: "PATH"}


def command_parser(
    name: str, summary: str, example: str, *kinds: type[BaseModel], without: Collection[str] = (), config: str = ""
) -> Parser:
    """Return the parser of one command.

    - ``kinds``: its settings models; each setting becomes a flag or a positional argument, except those in ``without``
    - ``config``: the help of ``--config``
    """
    parser = Parser(
        prog=f"dmg {name}",
        description=textwrap.fill(summary, _WIDTH),
        epilog=f"example:\n{textwrap.indent(textwrap.dedent(example).strip(), '  ')}",
    )
    fields = {field: info for kind in kinds for field, info in kind.model_fields.items() if field not in without}
    _complete_with(
        parser.add_argument(
            "--config", metavar="FILE", help=config or "settings in YAML, by the names below; flags take precedence"
        ),
        "file",
    )
    _complete_with(parser.add_argument("--plugin", action="append", metavar="FILE.py|MODULE", help=_PLUGIN), "file")
    used = {flag_of(info).group for info in fields.values()}
    groups = {group: parser.add_argument_group(group) for group in GROUPS if group in used}
    for field, info in fields.items():
        if field != "plugin":
            add_flag(groups.get(flag_of(info).group, parser), field, info)
    if "method" in fields:
        groups["method"].add_argument(
            "--method.NAME", dest="_", metavar="VALUE", help="a setting of the method, as in `dmg methods`"
        )
    if RunConfig in kinds:
        parser.epilog = f"{parser.epilog}\n\n{_OTHER_NAMES}"
    verbosity = groups.get("output", parser).add_mutually_exclusive_group()
    verbosity.add_argument("--quiet", action="store_true", help="print the result only")
    verbosity.add_argument(
        "--verbose",
        action="store_true",
        help="print all settings, more details, warnings of libraries, and tracebacks of errors",
    )
    return parser


def add_flag(group: argparse._ActionsContainer, name: str, info: FieldInfo) -> None:
    """Add the flags, or the positional argument, of one setting, which is None where it is not given."""
    flag, shown = flag_of(info), list(_shown(info))
    if bool in {info.annotation, *get_args(info.annotation)}:
        _add_switch(group, name, info)
        return
    several = _is_list(info.annotation) if flag.several is None else flag.several
    options: dict[str, Any] = {
        "metavar": flag.metavar or "|".join(dict.fromkeys(part.metavar for part in shown)),
        "help": _help(info),
        "default": None,
    }
    if flag.positional:
        action = group.add_argument(name, nargs="*" if several else "?", **options)
    elif flag.bare is not None:
        action = group.add_argument(f"--{name}", nargs="?", const=flag.bare, **options)
    elif several:
        action = group.add_argument(f"--{name}", nargs="+", action="extend" if flag.repeats else "store", **options)
    else:
        action = group.add_argument(f"--{name}", **options)
    completion = next((part.completion for part in shown if part.completion), "")
    words = [word for part in shown for word in part.metavar.split("|") if not word.isupper() and ":" not in word]
    _complete_with(action, completion or tuple(words))


def _add_switch(group: argparse._ActionsContainer, name: str, info: FieldInfo) -> None:
    """Add a flag and its negation; help shows the one that changes the default, the other can override a YAML."""
    texts = {True: _help(info), False: f"do not {_help(info)}"}
    if AUTO in [part.metavar for part in _shown(info)]:
        action = group.add_argument(f"--{name}", nargs="?", const=True, default=None, metavar=AUTO, help=_help(info))
        _complete_with(action, (AUTO,))
        group.add_argument(f"--no_{name}", dest=name, action="store_const", const=False, help=argparse.SUPPRESS)
        return
    for value, flags in ((True, [f"--{name}"]), (False, [f"--no_{name}"])):
        if value is False and name.startswith("no_"):
            continue
        letters = [flag_of(info).letter] if value and flag_of(info).letter else []
        help_text = argparse.SUPPRESS if info.default is value else texts[value]
        group.add_argument(*letters, *flags, dest=name, action="store_const", const=value, default=None, help=help_text)


def _help(info: FieldInfo) -> str:
    text, default = info.description or "", flag_of(info).otherwise or info.default
    if not info.is_required() and isinstance(default, str | int | float) and not isinstance(default, bool):
        text += f" (default: {default})"
    return text.replace("%", "%%")


def _is_list(annotation: Any) -> bool:
    parts = (annotation, *get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return any(get_origin(_bare(part)) in (tuple, list) for part in parts)


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _shown(info: FieldInfo) -> Iterator[Metavar]:
    """Yield the metavar of each part of a setting's type."""
    yield from _of_type(info.annotation, info.metadata)


def _of_type(annotation: Any, metadata: Sequence[Any]) -> Iterator[Metavar]:
    for item in reversed(metadata):
        if isinstance(item, Metavar):
            yield item
            return
        if isinstance(item, OneOf):
            yield Metavar("|".join(item.names()))
            return
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _of_type(parts[0], parts[1:])
    elif origin is Literal:
        yield Metavar("|".join(map(str, parts)))
    elif origin in (Union, UnionType):
        for part in parts:
            yield from _of_type(part, ())
    elif origin in (tuple, list):
        yield from _of_type(parts[0], ())
    elif annotation is not NoneType:
        yield Metavar(_BY_TYPE.get(annotation, "VALUE"))


def _complete_with(action: argparse.Action, completion: str | tuple[str, ...]) -> None:
    """Set what `dmg completion` offers as the value of a flag: ``file``, ``folder``, or words."""
    action.completion = completion  # type: ignore[attr-defined]


def reporter_for(arguments: argparse.Namespace) -> ConsoleReporter:
    """Return the reporter of a command, according to ``--quiet``."""
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    return ConsoleReporter(arguments.quiet)


def read_command(parser: Parser, arguments: Sequence[str], kind: type[Command]) -> tuple[argparse.Namespace, Command]:
    """Return the parsed arguments, and the settings of a command: those of ``--config`` with the flags on top, checked.

    Raises InputError with a line per mistake.
    """
    flags, mistakes = parser.parse_and_note(arguments)
    others = RunConfig.model_fields if kind.reads_run_config else ()
    values: dict[str, Any] = {}
    if flags.config is not None:
        values = read_settings(Path(flags.config), (*kind.model_fields, *others))
        values = {name: value for name, value in values.items() if name in kind.model_fields or name not in others}
    return flags, check_command(kind, {**values, **given_flags(flags, kind)}, mistakes)


def given_flags(flags: argparse.Namespace, kind: type[BaseModel]) -> dict[str, Any]:
    """Return the settings of a settings model that are given as flags."""
    return {name: value for name in kind.model_fields if (value := getattr(flags, name, None)) not in (None, [])}


def run_flags(flags: argparse.Namespace, method_settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a run that are given as flags; those of the method in a mapping, with its name if it is given."""
    settings = given_flags(flags, RunConfig)
    chosen = {"name": settings["method"]} if "method" in settings else {}
    if chosen or method_settings:
        settings["method"] = {**chosen, **method_settings}
    return settings


def settings_from(flags: argparse.Namespace, method_settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a run in ``--config`` with the flags on top, unchecked."""
    names = (*RunConfig.model_fields, *BENCHMARK_LISTS)
    values = read_settings(Path(flags.config), names) if flags.config is not None else {}
    return over(values, run_flags(flags, method_settings))
