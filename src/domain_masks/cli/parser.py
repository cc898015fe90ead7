"""The parser of the command line: it accepts synonyms, suggests the nearest flag, and raises instead of exiting."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from domain_masks.errors import InputError
from domain_masks.records.spellings import spelled, suggestion, two_spellings


class Parser(argparse.ArgumentParser):
    """A parser that raises InputError instead of exiting, and suggests the nearest flag."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Raise InputError with the message and the command that shows help."""
        raise InputError(f"{message}{'' if message.endswith('?') else '.'} See `{self.prog} --help`")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments; raises InputError for unknown ones, each with the nearest flag."""
        known, mistakes = self.parse_and_note(arguments)
        if mistakes:
            self.error("\n  ".join(mistakes))
        return known

    def parse_and_note(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Parse the known arguments; also returns a line for every unknown one, to be reported with other mistakes.

        Flags are also accepted under their synonyms, see :data:`~domain_masks.records.spellings.SYNONYMS`.
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
    spellings: dict[str, str] = {}
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
                if spellings.setdefault(own, name) != name:
                    mistakes.append(two_spellings(spellings[own], name))
                words[-1] = f"--{own}{equals}{value}"
    return words, mistakes


def split_method_flags(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take ``--method.NAME VALUE`` and ``--method.NAME=VALUE`` out of the arguments.

    Raises InputError for one without a value.
    """
    rest: list[str] = []
    settings: dict[str, str] = {}
    spellings: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        if not word.startswith("--method."):
            rest.append(word)
            continue
        name, equals, value = word.removeprefix("--method.").partition("=")
        if not equals:
            following = next(words, None)
            if following is None or following.startswith("--"):
                raise InputError(f"expected a value after --method.{name}, as in `--method.overlap_weight 0.1`")
            value = following
        own = name.replace("-", "_")
        if spellings.setdefault(own, name) != name:
            raise InputError(two_spellings(f"--method.{spellings[own]}", f"--method.{name}"))
        settings[own] = value
    return rest, settings
