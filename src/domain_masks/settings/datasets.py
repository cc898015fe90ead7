"""The settings of the actions of ``dmg data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator

from domain_masks.records.setting_types import DatasetPlace, File, Folder, Metavar, PlaceText, Workers, setting
from domain_masks.settings.command import CommandSettings

ROOT_HELP = "where the dataset lies; of a manifest, the folder that its paths are relative to"


class ListSettings(CommandSettings):
    """Settings of ``dmg data list``."""

    reads_run_config: ClassVar[bool] = True

    dataset: DatasetPlace | None = setting("the dataset to count", None, positional=True)
    root: Folder | None = setting(ROOT_HELP, None, otherwise="$DMG_DATA")


def _of_a_report(path: Path) -> Path:
    from domain_masks.data.checking import check_extension  # noqa: PLC0415 - help needs no numpy

    check_extension(path)
    return path


class CheckSettings(CommandSettings):
    """Settings of ``dmg data check``."""

    reads_run_config: ClassVar[bool] = True

    dataset: DatasetPlace = setting(
        "the dataset to check",
        positional=True,
        missing="expected the dataset to check: a name from `dmg data list`, a folder or a manifest",
    )
    root: Folder | None = setting(ROOT_HELP, None, otherwise="$DMG_DATA")
    all: bool = setting("show every example, not only the first ones", False)
    out: Annotated[File, AfterValidator(_of_a_report)] | None = setting(
        "write all findings", None, metavar="FILE.json|.csv"
    )
    workers: Workers | None = setting("processes that decode images", None, otherwise="by CPU cores")


class DownloadCommandSettings(CommandSettings):
    """Settings of ``dmg data download``."""

    reads_run_config: ClassVar[bool] = True

    dataset: Annotated[PlaceText, Metavar("NAME")] | None = setting("the dataset to download", None, positional=True)
    root: Folder | None = setting("where the folder NAME is created", None, otherwise="$DMG_DATA")
    url: Annotated[PlaceText, Metavar("URL")] | None = setting(
        "a mirror that has the files under their own names", None
    )
    dry_run: bool = setting("print what would be downloaded, from where, its size and its terms of use", False)
    keep_archives: bool = setting("keep the archives in DIR/downloads/NAME", False)
    without_checksum: bool = setting(
        "also download what has no published checksum; the SHA-256 of the download is remembered", False
    )


class CacheSettings(CommandSettings):
    """Settings of ``dmg data cache`` besides those of a run."""

    clear: Literal["images", "features", "verification", "all"] | None = setting(
        "remove what is cached", None, bare="all"
    )
