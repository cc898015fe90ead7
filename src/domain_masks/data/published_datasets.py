"""Office-Home, VLCS and TerraIncognita, in their published layouts.

PUBLISHED lists their domains, classes and the spellings of their folders; for the layouts see
:func:`load_published`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domain_masks.data.dataset import SPLIT_OF_NAME, ImageDataset
from domain_masks.data.file_dataset import ImageFile, dataset_of_files
from domain_masks.data.folders import LeftOut, existing_folder, folders_in, images_in
from domain_masks.errors import InputError, collected

_SPLIT_FOLDERS = ("train", "crossval", "test")
_WHOLE_FOLDER = "full"
_RAW_IMAGES = "eccv_18_all_images_sm"
_RAW_LABELS = ("caltech_images_20210113.json", "caltech_camera_traps.json")

_OFFICE_HOME_CLASSES = """
Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair Clipboards Computer
Couch Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops Flowers Folder Fork Glasses Hammer
Helmet Kettle Keyboard Knives Lamp_Shade Laptop Marker Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen
Pencil Postit_Notes Printer Push_Pin Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda
Speaker Spoon TV Table Telephone ToothBrush Toys Trash_Can Webcam
"""


@dataclass(frozen=True)
class Published:
    """A published dataset.

    - ``title``: its name in messages
    - ``folders``: usual names of its folder, looked up below the root
    - ``domains``: name -> other names that its folder may have; case and punctuation do not matter in any of them
    - ``classes``: in the order of the labels
    - ``numbered``: whether class folders may be named by label, "0", "1", ...
    - ``several_labels``: whether files of one name in a domain's class folders are one image with several labels: they
      form a group, so that training and test images never share one
    """

    title: str
    folders: tuple[str, ...]
    domains: dict[str, tuple[str, ...]]
    classes: tuple[str, ...]
    numbered: bool = False
    several_labels: bool = False


PUBLISHED = {
    "office_home": Published(
        title="Office-Home",
        folders=("office_home", "OfficeHome", "OfficeHomeDataset_10072016", "office-home", "office_home_dg"),
        domains={"Art": (), "Clipart": (), "Product": (), "Real World": ("Real",)},
        classes=tuple(_OFFICE_HOME_CLASSES.split()),
    ),
    "vlcs": Published(
        title="VLCS",
        folders=("vlcs", "VLCS"),
        domains={"Caltech101": ("CALTECH",), "LabelMe": (), "SUN09": ("SUN",), "VOC2007": ("PASCAL", "VOC")},
        classes=("bird", "car", "chair", "dog", "person"),
        numbered=True,
    ),
    "terra_incognita": Published(
        title="TerraIncognita",
        folders=("terra_incognita", "TerraIncognita"),
        domains={"location_38": ("38",), "location_43": ("43",), "location_46": ("46",), "location_100": ("100",)},
        classes=("bird", "bobcat", "cat", "coyote", "dog", "empty", "opossum", "rabbit", "raccoon", "squirrel"),
        several_labels=True,
    ),
}


def load_published(name: str, root: str | Path) -> ImageDataset:
    """Return the dataset ``name`` of PUBLISHED from its folder or the parent of a folder with a usual name.

    Layouts: ``<domain>/<class>/<image>``; of VLCS also ``<domain>/{train,crossval,test}/<class number>/<image>``,
    which is taken as official training, validation and test lists (a folder ``full`` is used only where it is alone); of
    TerraIncognita also the images of the camera traps as published, ``eccv_18_all_images_sm/<image>``, beside
    ``caltech_images_20210113.json``, of which the four locations and ten classes are used: the ids are then those of
    the arranged folders, location_38/bird/..., and an image with several of the classes counts for each of them. In both
    layouts of TerraIncognita such an image's rows are a group.

    Raises InputError, one for all, if domains or classes are missing or unknown.
    """
    known = PUBLISHED[name]
    left_out = LeftOut()
    above = existing_folder(root)
    candidates = (above, *(above / folder for folder in known.folders))
    labels = [candidate / file for candidate in candidates for file in _RAW_LABELS]
    raw = next((file for file in labels if file.is_file() and (file.parent / _RAW_IMAGES).is_dir()), None)
    directory = max(candidates, key=lambda candidate: len(_domain_folders(candidate, known)))
    domain_folders = _domain_folders(directory, known)
    if not domain_folders and name == "terra_incognita" and raw is not None:
        directory = raw.parent
        images = list(_raw_images(raw, known))
    elif not domain_folders:
        raise InputError(
            f"no {known.title} in {str(root)!r}: expected that folder, or a folder {known.folders[0]} in it, to hold the "
            f"folders {', '.join(known.domains)}; give the dataset's folder or its parent as root"
        )
    else:
        images = _arranged_images(directory, domain_folders, known, left_out)
    if known.several_labels:
        images = [replace(image, group=f"{image.domain}/{image.path.rpartition('/')[2]}") for image in images]
    rank = {domain: index for index, domain in enumerate(known.domains)}
    images.sort(key=lambda image: (rank[image.domain], image.id))
    dataset = dataset_of_files(name, directory, images, (tuple(known.domains), known.classes))
    return replace(dataset, notes=left_out.notes(directory, len(images)))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _named(names: Iterable[str], wanted: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return folder -> wanted name, for the ``names`` that match one."""
    table = {_plain(spelling): name for name, aliases in wanted.items() for spelling in (name, *aliases)}
    return {name: table[_plain(name)] for name in names if _plain(name) in table}


def _domain_folders(directory: Path, known: Published) -> dict[str, str]:
    return _named(folders_in(directory), known.domains) if directory.is_dir() else {}


def _arranged_images(
    directory: Path, domain_folders: dict[str, str], known: Published, left_out: LeftOut
) -> list[ImageFile]:
    wanted = {name: (str(label),) * known.numbered for label, name in enumerate(known.classes)}
    mistakes = [f"there is no folder {domain}" for domain in known.domains if domain not in domain_folders.values()]
    mistakes += [
        f"{domain} is there twice" for domain in known.domains if list(domain_folders.values()).count(domain) > 1
    ]
    images: list[ImageFile] = []
    for folder, domain in sorted(domain_folders.items()):
        inside = folders_in(directory / folder)
        divided = [name for name in _SPLIT_FOLDERS if known.numbered and name in inside]
        whole = [_WHOLE_FOLDER] if known.numbered and _WHOLE_FOLDER in inside else [""]
        for split_folder in divided or whole:
            above = f"{folder}/{split_folder}" if split_folder else folder
            class_folders = folders_in(directory / above)
            named = _named(class_folders, wanted)
            mistakes += [f"{above}/{name} is none of its classes" for name in class_folders if name not in named]
            mistakes += [f"{above} has no class {name}" for name in known.classes if name not in named.values()]
            for class_folder, class_name in named.items():
                split = SPLIT_OF_NAME.get(split_folder, "")
                images += [
                    replace(image, domain=domain, class_name=class_name, split=split)
                    for image in images_in(directory, f"{above}/{class_folder}", left_out)
                ]
    divisions = {
        domain: {image.split for image in images if image.domain == domain} for domain in domain_folders.values()
    }
    mistakes += [f"there are no images of {domain}" for domain, splits in divisions.items() if not splits]
    if len({frozenset(splits) for splits in divisions.values()}) > 1:
        mistakes.append(f"expected all domains to be divided into the same of {', '.join(_SPLIT_FOLDERS)}")
    if mistakes:
        advice = f"expected the domains {', '.join(known.domains)} with {len(known.classes)} classes each"
        raise collected(f"{known.title} in {str(directory)!r}", mistakes, advice)
    return images


def labelled_camera_traps(labels_file: Path) -> set[tuple[str, str, str]]:
    """Return (domain, class, file name) of the four locations and ten classes in the COCO file of Caltech Camera Traps.

    An image with animals of several classes is returned for each. Raises InputError for another file.
    """
    known = PUBLISHED["terra_incognita"]
    try:
        described: dict[str, list[dict[str, Any]]] = json.loads(labels_file.read_text(encoding="utf-8"))
        categories = {entry["id"]: entry["name"] for entry in described["categories"]}
        files = {entry["id"]: (str(entry["location"]), str(entry["file_name"])) for entry in described["images"]}
        labelled = {(entry["image_id"], categories[entry["category_id"]]) for entry in described["annotations"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{known.title}: expected images, annotations and categories in COCO's form in {str(labels_file)!r}, got "
            f"{type(error).__name__} ({error}); fetch it again"
        ) from error
    domains = {location: domain for domain, locations in known.domains.items() for location in locations}
    placed = ((*files.get(image, ("", "")), category) for image, category in labelled if category in known.classes)
    return {(domains[location], category, name) for location, name, category in placed if location in domains}


def _raw_images(labels_file: Path, known: Published) -> Iterator[ImageFile]:
    """Yield the camera traps' images of the four locations and ten classes, by the COCO file that describes all."""
    files = images_in(labels_file.parent, _RAW_IMAGES)
    present = {file.path.rpartition("/")[2]: file for file in files}
    labelled = sorted(labelled_camera_traps(labels_file))
    missing = [f"{name} is annotated but missing" for _, _, name in labelled if name not in present]
    seen = {domain for domain, _, name in labelled if name in present}
    missing += [f"there are no images of {domain}" for domain in known.domains if domain not in seen]
    if missing:
        raise collected(f"{known.title} in {str(labels_file.parent)!r}", missing, "fetch the images again", 5)
    for domain, category, name in labelled:
        yield replace(present[name], other_id=f"{domain}/{category}/{name}", domain=domain, class_name=category)
