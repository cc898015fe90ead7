"""Arrange unpacked files in the folders ``<domain>/<class>/<image>`` that the loaders expect."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from domain_masks.data.published_datasets import labelled_camera_traps
from domain_masks.errors import ArchiveError
from domain_masks.progress import Reporter


def move_content(folder: Path, target: Path) -> None:
    """Move the content of ``folder`` into ``target``; raises ArchiveError if a name exists there already."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if (target / path.name).exists():
            raise ArchiveError(
                f"two archives hold {path.name!r}: expected each part of the dataset once; fetch them again"
            )
        path.rename(target / path.name)


def terra_incognita(unpacked: Mapping[str, Path], target: Path, reporter: Reporter) -> None:
    """Sort the images of four locations of Caltech Camera Traps by their annotations.

    As in DomainBed: ``location_<id>/<class>/<image>`` for ten classes; an image with animals of several classes lies in the
    folder of each. Raises ArchiveError if annotations or all of their images are missing, and InputError if they are
    malformed.
    """
    lists = sorted(unpacked["caltech_camera_traps.json.zip"].glob("*.json"))
    if len(lists) != 1:
        raise ArchiveError(
            f"expected one file *.json in caltech_camera_traps.json.zip, got {len(lists)}; fetch it again"
        )
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for domain, class_name, file_name in sorted(labelled_camera_traps(lists[0])):
        folders[file_name].append(f"{domain}/{class_name}")
    images = unpacked["eccv_18_all_images_sm.tar.gz"]
    # A name with a folder in it would point elsewhere.
    present = {name for name in folders if Path(name).name == name and (images / name).is_file()}
    if not present:
        raise ArchiveError(
            "none of the images that the annotations name is in eccv_18_all_images_sm.tar.gz; fetch both again"
        )
    for name in present:
        first, *copies = ((target / folder) / name for folder in folders[name])
        for place in (first, *copies):
            place.parent.mkdir(parents=True, exist_ok=True)
        for place in copies:
            shutil.copyfile(images / name, place)
        (images / name).rename(first)
    if missing := len(folders) - len(present):
        reporter.say(
            f"terra_incognita: {missing} of {len(folders)} annotated images are not in the archive; they are left out"
        )


ARRANGEMENTS: dict[str, Callable[[Mapping[str, Path], Path, Reporter], None]] = {"terra_incognita": terra_incognita}
