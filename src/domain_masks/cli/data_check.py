"""``dmg data check``."""

from __future__ import annotations

from collections.abc import Sequence

from domain_masks.cli.flags import RUN_YAML, command_parser, read_command, reporter_for
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.settings.datasets import CheckSettings


def parser() -> Parser:
    """Return the parser of ``dmg data check``."""
    return command_parser(
        "data check",
        "Decodes every image of a dataset and reports everything that is wrong or odd about it at once: unreadable images, "
        "duplicates, contradicting labels, leaks between splits and domains, missing and misspelt classes, misplaced files. "
        "Exits with status 1 if there is an error.",
        """
        dmg data check photos/
        dmg data check pacs --root data --all
        dmg data check manifest.csv --out problems.csv
        """,
        CheckSettings,
        config=RUN_YAML,
    )


def main(arguments: Sequence[str]) -> int:
    """Report everything that is wrong with a dataset; 1 if there is an error."""
    flags, settings = read_command(parser(), arguments, CheckSettings)

    from domain_masks.data.checking import check  # noqa: PLC0415

    report = check(settings.dataset, settings.root, settings.workers, reporter_for(flags))
    say(report.text(settings.all))
    if settings.out is not None:
        report.write(settings.out)
        say(f"\nwritten: {settings.out}")
    return 1 if report.has_errors else 0
