"""``dmg data check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from domain_masks.cli.flags import (
    Parser,
    add_config,
    add_output,
    completed_by,
    data_settings,
    parser_for,
    reporter_for,
    say,
)
from domain_masks.errors import InputError


def parser() -> Parser:
    """Return the parser of ``dmg data check``."""
    parser = parser_for(
        "data check",
        "Decodes every image of a dataset and shows everything that is wrong or odd about it at once: unreadable "
        "images, duplicates, contradicting labels, leaks between splits and domains, missing and misspelt classes, "
        "misplaced files. Ends with status 1 if anything is an error.",
        """
        dmg data check photos/
        dmg data check pacs --root data --all
        dmg data check manifest.csv --out problems.csv
        """,
    )
    dataset = parser.add_argument("dataset", metavar="NAME|DIR|MANIFEST", nargs="?", help="the dataset to check")
    completed_by(dataset, folders=True)
    root = parser.add_argument("--root", metavar="DIR", help="where the dataset lies, or the paths of a manifest start")
    completed_by(root, folders=True)
    parser.add_argument("--all", action="store_true", help="show every example, not only the first ones")
    parser.add_argument("--out", metavar="FILE.json|.csv", help="write everything that was found, for machines")
    parser.add_argument("--workers", metavar="N", help="processes that decode images; default by cores")
    add_output(parser)
    add_config(parser, "settings in YAML, of which dataset, root and workers are used")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Find everything that is wrong with a dataset; 1 if anything is an error."""
    flags = parser().parse(arguments)
    settings = data_settings(flags, ("dataset", "root", "workers"))
    if "dataset" not in settings.model_fields_set:
        raise InputError("expected the dataset to check: a name from `dmg data list`, a folder or a manifest")

    from domain_masks.data.checking import check, check_extension  # noqa: PLC0415

    out = Path(flags.out) if flags.out else None
    if out is not None:
        check_extension(out)
    report = check(settings.dataset, settings.root, settings.workers, reporter_for(flags))
    say(report.text(flags.all))
    if out is not None:
        report.write(out)
        say(f"\nwritten: {out}")
    return 1 if report.has_errors else 0
