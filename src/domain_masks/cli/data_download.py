"""``dmg data download``."""

from __future__ import annotations

import os
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
from domain_masks.cli.interruption import resumable
from domain_masks.errors import InputError


def parser() -> Parser:
    """Return the parser of ``dmg data download``."""
    parser = parser_for(
        "data download",
        "Fetches a dataset into the folder NAME below --root, compares it with its published checksums, unpacks and "
        "arranges it. Interrupted, it goes on with the same command. Without a name: lists what can be fetched.",
        """
        dmg data download
        dmg data download domainnet --dry_run
        dmg data download pacs --root data
        """,
    )
    parser.add_argument("dataset", metavar="NAME", nargs="?", help="the dataset to fetch")
    root = parser.add_argument("--root", metavar="DIR", help="where the folder NAME is put; default $DMG_DATA")
    completed_by(root, folders=True)
    parser.add_argument("--url", metavar="BASE", help="a mirror: an address that has the files under their own names")
    parser.add_argument(
        "--dry_run", action="store_true", help="say what would be fetched, from where, how large, which terms"
    )
    parser.add_argument("--keep_archives", action="store_true", help="keep the archives in DIR/downloads/NAME")
    parser.add_argument(
        "--without_checksum",
        action="store_true",
        help="fetch what has no published checksum too; the SHA-256 that comes is remembered",
    )
    add_output(parser)
    add_config(parser, "settings in YAML, of which dataset and root are used")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Fetch a dataset, or list what can be fetched."""
    flags = parser().parse(arguments)
    given = data_settings(flags)
    name = given.dataset

    from domain_masks.data.downloading.download import DownloadSettings, download, plan, source_of  # noqa: PLC0415
    from domain_masks.data.downloading.sources import SOURCES  # noqa: PLC0415
    from domain_masks.data.registry import DATASETS, ROOT_VARIABLE  # noqa: PLC0415

    if "dataset" not in given.model_fields_set:
        width = max(map(len, SOURCES))
        for entry, source in SOURCES.items():
            say(f"{entry:<{width}}  {source.summary}")
        say("\n`dmg data download NAME --dry_run` tells the addresses and the terms.")
        return 0
    if name in DATASETS and not DATASETS[name].needs_root:
        say(f"{name} needs no download")
        return 0
    source_of(name)
    # A plan harms nothing: without a folder it is that of the one in which it is asked for.
    root = given.root or os.environ.get(ROOT_VARIABLE) or ("." if flags.dry_run else None)
    if not root:
        raise InputError(f"expected a folder to put {name!r} into: give --root, or set ${ROOT_VARIABLE}")
    settings = DownloadSettings(flags.url, flags.without_checksum, flags.keep_archives)
    if flags.dry_run:
        for line in plan(name, Path(root), settings):
            say(line)
        return 0
    with resumable("What has come is kept; go on with the same command"):
        say(str(download(name, Path(root), reporter_for(flags), settings)))
    return 0
