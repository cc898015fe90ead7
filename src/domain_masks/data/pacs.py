"""PACS: seven classes in four domains, with the authors' official lists.

Li, Yang, Song, Hospedales: "Deeper, Broader and Artier Domain Generalization", ICCV 2017. 9,991 images of 227x227
pixels: art_painting 2,048, cartoon 2,344, photo 1,670, sketch 3,929. The protocol trains on the lists ``train`` of
three domains, chooses the epoch by their lists ``crossval``, and tests on every image of the fourth; there is no
in-domain test list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from domain_masks.data.dataset import SPLIT_OF_NAME, ImageDataset
from domain_masks.data.file_dataset import ImageFile, dataset_of_files
from domain_masks.data.folders import existing_folder, find_images, nearest_folder
from domain_masks.data.split_lists import LISTS_FOLDER, ImagePaths, ListLine, read_split_list
from domain_masks.errors import InputError

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")

_LISTS = ("train", "crossval")
_WHOLE_LIST = "test"
_SHOWN = 3


def load_pacs(root: str | Path) -> ImageDataset:
    """Return PACS from its folder, or from the parent of a folder ``pacs`` or ``PACS``.

    The folder holds ``<domain>/<class>/<image>`` and ``splits/<domain>_{train,crossval}_kfold.txt`` (lines "path
    label", labels from 1); ``splits/<domain>_test_kfold.txt``, the list of all images, is checked where it is there.
    An image may have another extension on disk than in the lists. Raises InputError if something is missing, or one for
    all disagreements of lists and folders, which counts them and names the first ones.
    """
    directory = _own_folder(existing_folder(root))
    files = find_images(directory)
    if other := next((image for image in files if image.domain not in DOMAINS), None):
        expected = ", ".join(DOMAINS)
        raise InputError(f"PACS in {str(directory)!r}: expected the domains {expected}, got a folder {other.domain!r}")
    if odd := next((image for image in files if image.class_name not in CLASSES), None):
        expected = ", ".join(CLASSES)
        raise InputError(f"PACS in {str(directory)!r}: expected the classes {expected}, got {odd.path!r}")
    lists = _Lists(files)
    for domain in DOMAINS:
        for name in _LISTS:
            lists.assign(domain, _read_list(directory, domain, name), SPLIT_OF_NAME[name])
        if _list_path(directory, domain, _WHOLE_LIST).exists():
            lists.compare(domain, _read_list(directory, domain, _WHOLE_LIST))
    lists.raise_disagreements(directory)
    rank = {domain: index for index, domain in enumerate(DOMAINS)}
    images = [replace(image, split=lists.split_of[image.path]) for image in files]
    images.sort(key=lambda image: (rank[image.domain], image.path))
    return dataset_of_files("pacs", directory, images, (DOMAINS, CLASSES))


def _own_folder(root: Path) -> Path:
    parts = (*DOMAINS, LISTS_FOLDER)
    nearest = nearest_folder(root, ("pacs", "PACS"), parts)
    missing = [name for name in parts if not (nearest / name).is_dir()]
    if not missing:
        return nearest
    if len(missing) == len(parts):
        raise InputError(
            f"no PACS in {str(root)!r}: expected that folder, or a folder pacs in it, to hold the folders "
            f"{', '.join(DOMAINS)} and splits; give the dataset's folder or its parent as root"
        )
    raise InputError(
        f"PACS in {str(nearest)!r}: no folder {', '.join(missing)}; expected {', '.join(DOMAINS)} with the "
        "images and splits with the official lists <domain>_{train,crossval,test}_kfold.txt"
    )


def _list_path(directory: Path, domain: str, name: str) -> Path:
    return directory / LISTS_FOLDER / f"{domain}_{name}_kfold.txt"


def _read_list(directory: Path, domain: str, name: str) -> list[ListLine]:
    """Return the lines of an official list, labels from 1."""
    path = _list_path(directory, domain, name)
    try:
        lines, odd = read_split_list(path)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"PACS: the official list {str(path)!r} is missing or cannot be read; put the authors' lists there"
        ) from error
    odd |= {line.number: f"{line.path} {line.label}" for line in lines if not 1 <= line.label <= len(CLASSES)}
    if odd:
        number = min(odd)
        raise InputError(
            f"PACS: {path.name}, line {number}: expected 'path label' with a label from 1 to {len(CLASSES)}, "
            f"got {odd[number]!r}; fetch the list again"
        )
    return lines


class _Lists:
    """Compares the official lists with the files.

    ``disagreements`` are keys, in the order of their discovery: the list of all images repeats those of its parts.
    """

    def __init__(self, files: Sequence[ImageFile]) -> None:
        self.files = {file.path: file for file in files}
        self.split_of: dict[str, str] = {}
        self.disagreements: dict[str, None] = {}
        self._paths = ImagePaths(self.files)

    def assign(self, domain: str, lines: list[ListLine], split: str) -> None:
        """Assign the listed files to a split."""
        for line in lines:
            path = self._find(domain, line)
            if path is None:
                continue
            if path in self.split_of:
                self._note(f"{line.path} is listed twice")
            self.split_of[path] = split

    def compare(self, domain: str, lines: list[ListLine]) -> None:
        """Check that the list of all images has no files besides those of the other lists."""
        for line in lines:
            path = self._find(domain, line)
            if path is not None and path not in self.split_of:
                self._note(f"{line.path} is in the test list but neither in train nor in crossval")

    def _find(self, domain: str, line: ListLine) -> str | None:
        path = self._paths.find(line.path)
        if path is None:
            self._note(f"{line.path} is listed but missing")
            return None
        file, class_name = self.files[path], CLASSES[line.label - 1]
        if file.domain != domain:
            self._note(f"{line.path} is in the lists of {domain}")
        if file.class_name != class_name:
            self._note(f"{line.path} has label {line.label} ({class_name}) in its list")
        return path

    def _note(self, disagreement: str) -> None:
        self.disagreements[disagreement] = None

    def raise_disagreements(self, directory: Path) -> None:
        """Raise one InputError for all disagreements, if any."""
        unlisted = [path for path in self.files if path not in self.split_of]
        everything = list(self.disagreements) + [
            f"{path} is in neither the train nor the crossval list" for path in unlisted
        ]
        if everything:
            shown = "; ".join(everything[:_SHOWN]) + ("; ..." if len(everything) > _SHOWN else "")
            raise InputError(
                f"PACS in {str(directory)!r}: lists and folders disagree in {len(everything)} places: {shown}. "
                "Expected every image in one list, below the folder of its domain and class; fetch the dataset again"
            )
