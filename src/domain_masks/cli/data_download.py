"""``dmg data download``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from domain_masks.cli.flags import RUN_YAML, command_parser, read_command, reporter_for
from domain_masks.cli.interruption import resumable
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.errors import InputError
from domain_masks.settings.datasets import DownloadCommandSettings


def parser() -> Parser:
    """Return the parser of ``dmg data download``."""
    return command_parser(
        "data download",
        "Downloads a dataset into the folder NAME below --root, verifies its published checksums, unpacks and arranges it. If "
        "it is interrupted, the same command resumes it. Without a name: lists what can be downloaded.",
        """
        dmg data download
        dmg data download domainnet --dry_run
        dmg data download pacs --root data
        """,
        DownloadCommandSettings,
        config=RUN_YAML,
    )


def main(arguments: Sequence[str]) -> int:
    """Download a dataset, or list what can be downloaded."""
    flags, settings = read_command(parser(), arguments, DownloadCommandSettings)
    name = settings.dataset

    from domain_masks.data.downloading.download import DownloadSettings, download, plan, source_of  # noqa: PLC0415
    from domain_masks.data.downloading.sources import SOURCES  # noqa: PLC0415
    from domain_masks.data.registry import DATASETS, ROOT_VARIABLE  # noqa: PLC0415

    if name is None:
        width = max(map(len, SOURCES))
        for entry, source in SOURCES.items():
            say(f"{entry:<{width}}  {source.summary}")
        say("\n`dmg data download NAME --dry_run` shows the addresses and the terms of use.")
        return 0
    if name in DATASETS and not DATASETS[name].needs_root:
        say(f"{name} needs no download")
        return 0
    source_of(name)
    # A dry run writes nothing, so without a folder it assumes the working folder.
    root = settings.root or os.environ.get(ROOT_VARIABLE) or ("." if settings.dry_run else None)
    if not root:
        raise InputError(f"expected a folder to put {name!r} into: give --root, or set ${ROOT_VARIABLE}")
    options = DownloadSettings(settings.url, settings.without_checksum, settings.keep_archives)
    if settings.dry_run:
        for line in plan(name, Path(root), options):
            say(line)
        return 0
    with resumable("What has been downloaded is kept; the same command resumes"):
        say(str(download(name, Path(root), reporter_for(flags), options)))
    return 0
