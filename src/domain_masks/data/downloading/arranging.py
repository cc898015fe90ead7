"""From what archives hold to the folders ``<domain>/<class>/<image>`` that the loaders expect."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from domain_masks.data.published import PUBLISHED
from domain_masks.errors import ArchiveError
from domain_masks.progress import Reporter


def move_content(folder: Path, target: Path) -> None:
    """Move what lies in ``folder`` into ``target``; raises ArchiveError if something of that name is there already."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        if (target / path.name).exists():
            raise ArchiveError(
                f"two archives hold {path.name!r}: expected each part of the dataset once; fetch them again"
            )
        path.rename(target / path.name)


def terra_incognita(unpacked: Mapping[str, Path], target: Path, reporter: Reporter) -> None:
    """Sort the images of four locations of Caltech Camera Traps by their annotations.

    As in DomainBed: ``location_<id>/<class>/<image>`` for ten classes; an image with animals of several classes lies
    in the folder of each. Raises ArchiveError if the annotations are malformed, or none of their images is there.
    """
    lists = sorted(unpacked["caltech_camera_traps.json.zip"].glob("*.json"))
    if len(lists) != 1:
        raise ArchiveError(
            f"expected one file *.json in caltech_camera_traps.json.zip, got {len(lists)}; fetch it again"
        )
    try:
        wanted = _terra_folders(json.loads(lists[0].read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(
            f"{lists[0].name}: expected images, annotations and categories in the COCO form, got {type(error).__name__} "
            f"({error}); fetch it again"
        ) from error
    images = unpacked["eccv_18_all_images_sm.tar.gz"]
    missing = 0
    for file_name, folders in wanted.items():
        image = images / file_name
        if Path(file_name).name != file_name or not image.is_file():
            missing += 1
            continue
        for folder in sorted(folders):
            (target / folder).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image, target / folder / file_name)
        image.unlink()
    if missing == len(wanted):
        raise ArchiveError(
            "none of the images that the annotations name is in eccv_18_all_images_sm.tar.gz; fetch both again"
        )
    if missing:
        reporter.say(
            f"terra_incognita: {missing} of {len(wanted)} annotated images are not in the archive; they are left out"
        )


def _terra_folders(annotations: dict[str, Any]) -> dict[str, set[str]]:
    """Return file name -> folders ``location_<id>/<class>`` that it belongs to."""
    known = PUBLISHED["terra_incognita"]
    domains = {location: domain for domain, locations in known.domains.items() for location in locations}
    classes = {category["id"]: category["name"] for category in annotations["categories"]}
    images = {
        image["id"]: (image["file_name"], str(image["location"]))
        for image in annotations["images"]
        if str(image["location"]) in domains
    }
    folders: dict[str, set[str]] = {}
    for annotation in annotations["annotations"]:
        name = classes[annotation["category_id"]]
        if annotation["image_id"] in images and name in known.classes:
            file_name, location = images[annotation["image_id"]]
            folders.setdefault(file_name, set()).add(f"{domains[location]}/{name}")
    return folders


ARRANGEMENTS: dict[str, Callable[[Mapping[str, Path], Path, Reporter], None]] = {"terra_incognita": terra_incognita}
