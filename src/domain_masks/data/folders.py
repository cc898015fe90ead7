"""Pictures in folders: any tree ``domain/class/picture``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from domain_masks.data.dataset import FileOpener, ImageDataset, Int64Array, TextArray, fingerprint_of
from domain_masks.errors import InputError
from domain_masks.records.files import is_there

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")
_LISTS_FOLDER = "splits"


@dataclass(frozen=True)
class FoundPicture:
    """A picture file below a dataset's folder: where it is, its size in bytes and its time of change in nanoseconds."""

    domain: str
    class_name: str
    file_name: str
    size: int
    changed: int

    @property
    def path(self) -> str:
        """The path relative to the dataset's folder, with forward slashes: the picture's id."""
        return f"{self.domain}/{self.class_name}/{self.file_name}"


def load_folder(directory: str | Path) -> ImageDataset:
    """Return the dataset in ``directory``, a tree ``domain/class/picture``.

    Domains and classes are the names of the folders, sorted; the classes are those of all domains together, and a
    domain may lack some. Hidden files, files that are no pictures, and a folder ``splits`` without class folders are
    ignored. Nothing is decoded. Raises InputError if the folder is missing or is arranged differently.
    """
    root = existing_folder(directory)
    pictures = find_pictures(root)
    domains = tuple(sorted({picture.domain for picture in pictures}))
    classes = tuple(sorted({picture.class_name for picture in pictures}))
    return dataset_of_files(root.resolve().name, root, pictures, (domains, classes))


def existing_folder(directory: str | Path) -> Path:
    """Return ``directory`` as a path; raises InputError if it is not there or not a folder."""
    root = Path(directory)
    if not is_there(root):
        raise InputError(f"folder {str(root)!r} does not exist: expected a folder with domain/class/picture files")
    if not root.is_dir():
        raise InputError(f"{str(root)!r} is a file: expected a folder with domain/class/picture files")
    return root


def find_pictures(root: Path) -> list[FoundPicture]:
    """Return the pictures below ``root``, sorted by path.

    Raises InputError if there are none, if a domain folder has none, if pictures lie outside of class folders, or where
    the file system refuses: a folder that may not be read, a link in a circle.
    """
    try:
        return _pictures_below(root)
    except OSError as error:
        raise InputError(
            f"{error.filename!r} cannot be looked at: {error.strerror or error}. Give permission or remove it; "
            "`dmg data check` lists everything that is wrong with a folder"
        ) from error


def _pictures_below(root: Path) -> list[FoundPicture]:
    stray = _picture_names(root)
    if stray:
        raise _wrong_layout(root, f"pictures directly in it, such as {stray[0]!r}")
    folders = folders_in(root)
    if not folders:
        raise _wrong_layout(root, "no folders")
    found: list[FoundPicture] = []
    for domain in folders:
        class_folders = folders_in(root / domain)
        if domain == _LISTS_FOLDER and not class_folders:
            continue
        stray = _picture_names(root / domain)
        if stray:
            raise _wrong_layout(root, f"pictures in a folder of the first level, such as {domain}/{stray[0]}")
        here = [picture for name in class_folders for picture in pictures_in(root, domain, name)]
        if not here:
            content = "no picture in its class folders" if class_folders else "no class folders"
            raise _wrong_layout(root, f"{content} in {domain!r}")
        found += here
    if not found:
        raise _wrong_layout(root, "no domain folders")
    return sorted(found, key=lambda picture: picture.path)


def dataset_of_files(
    name: str,
    root: Path,
    pictures: list[FoundPicture],
    names: tuple[tuple[str, ...], tuple[str, ...]],
    splits: TextArray | None = None,
) -> ImageDataset:
    """Return the dataset of picture files below ``root``; ``names`` are its domains and its classes, in order."""
    domains, classes = names
    domain_index = {domain: index for index, domain in enumerate(domains)}
    class_index = {class_name: index for index, class_name in enumerate(classes)}
    ids = tuple(picture.path for picture in pictures)
    labels: Int64Array = np.array([class_index[picture.class_name] for picture in pictures], dtype=np.int64)
    domain_indices: Int64Array = np.array([domain_index[picture.domain] for picture in pictures], dtype=np.int64)
    files = np.array([(picture.size, picture.changed) for picture in pictures], dtype=np.int64)
    return ImageDataset(
        name=name,
        classes=classes,
        domains=domains,
        ids=ids,
        labels=labels,
        domain_indices=domain_indices,
        splits=splits,
        open_image=FileOpener(root.resolve(), ids),
        fingerprint=fingerprint_of([(name,), classes, domains, ids], [labels, domain_indices, files]),
    )


def _wrong_layout(root: Path, got: str) -> InputError:
    return InputError(
        f"{str(root)!r}: expected <domain>/<class>/<picture> (such as photo/dog/1.jpg; {', '.join(EXTENSIONS)}), "
        f"got {got}; arrange the folders by domain first, then by class"
    )


def folders_in(directory: Path) -> list[str]:
    """Return the names of the folders in ``directory``, sorted, without hidden ones."""
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _is_picture(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith(".") and entry.is_file()


def _picture_names(directory: Path) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if _is_picture(entry))


def pictures_in(root: Path, domain: str, class_name: str) -> list[FoundPicture]:
    """Return the pictures in one folder ``domain/class`` below ``root``, in no particular order."""
    with os.scandir(root / domain / class_name) as entries:
        chosen = [(entry.name, entry.stat()) for entry in entries if _is_picture(entry)]
    return [FoundPicture(domain, class_name, name, state.st_size, state.st_mtime_ns) for name, state in chosen]
