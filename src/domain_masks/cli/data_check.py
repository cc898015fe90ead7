"""``dmg data check``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from domain_masks.cli.flags import parser_for, say
from domain_masks.errors import InputError
from domain_masks.records.config import parse_config, read_config


def main(arguments: Sequence[str]) -> int:
    """Find everything that is wrong with a dataset; 1 if anything is an error."""
    parser = parser_for(
        "data check",
        "Decodes every picture of a dataset and shows everything that is wrong or odd about it at once: unreadable "
        "pictures, duplicates, contradicting labels, leaks between splits and domains, missing and misspelt classes, "
        "misplaced files. Ends with status 1 if anything is an error.",
        """
        dmg data check photos/
        dmg data check pacs --root data --all
        dmg data check manifest.csv --out problems.csv
        """,
    )
    parser.add_argument("dataset", metavar="NAME|DIR|MANIFEST", nargs="?", help="the dataset to check")
    parser.add_argument("--root", metavar="DIR", help="where the dataset lies; default $DMG_DATA")
    parser.add_argument("--all", action="store_true", help="show every example, not only the first ones")
    parser.add_argument("--out", metavar="FILE.json|.csv", help="write everything that was found, for machines")
    parser.add_argument("--workers", metavar="N", help="processes that decode pictures; default by cores")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument(
        "--config", metavar="FILE", help="settings in YAML, of which dataset, root and workers are used"
    )
    flags = parser.parse(arguments)
    given = read_config(Path(flags.config)) if flags.config else {}
    values = {
        name: getattr(flags, name) if getattr(flags, name) is not None else given.get(name)
        for name in ("dataset", "root", "workers")
    }
    if values["dataset"] is None:
        raise InputError("expected the dataset to check: a name from `dmg data list`, a folder or a manifest")
    settings = parse_config({name: value for name, value in values.items() if value is not None})

    from domain_masks.data.checking import check  # noqa: PLC0415
    from domain_masks.data.checking.report import check_extension  # noqa: PLC0415
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    out = Path(flags.out) if flags.out else None
    if out is not None:
        check_extension(out)
    report = check(settings.dataset, settings.root, settings.workers, ConsoleReporter(flags.quiet))
    say(report.text(flags.all))
    if out is not None:
        report.write(out)
        say(f"\nwritten: {out}")
    return 1 if report.has_errors else 0
