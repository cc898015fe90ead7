"""``dmg completion``."""

from __future__ import annotations

import argparse
import importlib
import textwrap
import zlib
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

from domain_masks.cli.flags import command_parser, read_command
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.errors import InputError
from domain_masks.settings.listings import CompletionSettings

_KINDS = {"dataset": "datasets", "method": "methods", "methods": "methods", "names": "methods", "target": "domains"}
_KINDS |= {"targets": "domains", "augmentation": "augmentations", "weights": "weights", "ensemble": "ensembles"}


def parser() -> Parser:
    """Return the parser of ``dmg completion``."""
    return command_parser(
        "completion",
        "Prints the script with which a shell completes the commands, flags, files and known names of dmg.",
        """
        source <(dmg completion bash)        # for this shell; or permanently:
        dmg completion bash > ~/.local/share/bash-completion/completions/dmg
        dmg completion zsh > ~/.zfunc/_dmg   # with fpath+=~/.zfunc before compinit in ~/.zshrc
        dmg completion fish > ~/.config/fish/completions/dmg.fish
        """,
        CompletionSettings,
    )


def main(arguments: Sequence[str]) -> int:
    """Print the script for one shell."""
    import shtab  # noqa: PLC0415

    _, settings = read_command(parser(), arguments, CompletionSettings)
    script: str = shtab.complete(whole_parser(), shell=settings.shell)
    if not script.strip():
        raise InputError(f"no completion could be made for {settings.shell!r}")
    say(script.rstrip())
    return 0


def whole_parser() -> argparse.ArgumentParser:
    """Return one parser of all commands and actions, with the completion of each flag."""
    from domain_masks.cli.data import ACTIONS  # noqa: PLC0415
    from domain_masks.cli.main import COMMANDS  # noqa: PLC0415

    whole = argparse.ArgumentParser(prog="dmg")
    whole.add_argument("--version", action="store_true", help="show the version")
    commands = whole.add_subparsers()
    names = _names()
    for command, text in COMMANDS.items():
        module = importlib.import_module(f"domain_masks.cli.{command}")
        if command != "data":
            _add(commands, command, text, module, names)
            continue
        actions = commands.add_parser(command, help=text).add_subparsers()
        for action, summary in ACTIONS.items():
            _add(actions, action, summary, importlib.import_module(f"domain_masks.cli.data_{action}"), names)
    return whole


def _add(commands: Any, name: str, text: str, module: ModuleType, names: dict[str, list[str]]) -> None:
    build = getattr(module, "parser", None)
    if build is None:  # a command without flags
        commands.add_parser(name, help=_first(text))
        return
    own = build()
    is_setting = any("--method.NAME" in action.option_strings for action in own._actions)
    added = commands.add_parser(name, help=_first(text), parents=[own], add_help=False)
    # The copy is only for the shell; `--method.NAME` is replaced by the settings of all methods.
    added._actions[:] = [action for action in added._actions if "--method.NAME" not in action.option_strings]
    for action in added._actions:
        _complete(action, names)
    if is_setting or name == "benchmark":
        for flag in names["method settings"]:
            added.add_argument(flag, metavar="VALUE")


def _first(text: str) -> str:
    return textwrap.shorten(text, 70)


def _complete(action: argparse.Action, names: dict[str, list[str]]) -> None:
    """Set the attributes of an action that shtab reads: ``choices`` for words, ``complete`` for files and folders."""
    import shtab  # noqa: PLC0415

    known = getattr(action, "completion", ())
    words = [*names.get(_KINDS.get(action.dest, ""), ()), *(known if isinstance(known, tuple) else ())]
    paths = shtab.FILE if known == "file" else shtab.DIRECTORY if known == "folder" else None
    if paths is not None and words:
        action.complete = _words_and_paths(words, str(known))  # type: ignore[attr-defined]
    elif paths is not None:
        action.complete = paths  # type: ignore[attr-defined]
    elif words:
        action.choices = words


def _words_and_paths(words: Iterable[str], kind: str) -> dict[str, Any]:
    """Return the completion of either a known name or a path, for each shell."""
    joined = " ".join(words)
    function = f"_dmg_names_or_{kind}_{zlib.crc32(joined.encode()):08x}"
    option = "-d" if kind == "folder" else "-f"
    bash = f'{function}() {{ compgen -W "{joined}" -- "$1"; compgen {option} -- "$1"; }}'
    return {
        "bash": function,
        "zsh": f"_alternative 'names:name:({joined})' 'paths:path:_files{' -/' if kind == 'directory' else ''}'",
        "fish": f"(string split ' ' -- '{joined}'; __fish_complete_path (commandline -ct))",
        "preamble": {"bash": bash},
    }


def _names() -> dict[str, list[str]]:
    """Return the names that are known without reading any data."""
    from dataclasses import fields  # noqa: PLC0415

    from domain_masks.data.registry import DATASETS, augmentation_names  # noqa: PLC0415
    from domain_masks.methods.method_registry import METHODS, described  # noqa: PLC0415

    # Shells take a blank for the end of a word.
    named = [domain for record in DATASETS.values() for domain in record.domains if " " not in domain]
    domains = list(dict.fromkeys(named))
    settings = dict.fromkeys(
        f"--method.{setting.name}" for method in METHODS for setting in fields(described(method).Settings)
    )
    return {
        "datasets": list(DATASETS),
        "methods": list(METHODS),
        "domains": domains,
        "augmentations": list(augmentation_names()),
        "weights": ["imagenet", "none"],
        "ensembles": ["predictions", "masks", "weighted", *(f"known:{domain}" for domain in domains)],
        "method settings": list(settings),
    }
