"""Datasets of images in folders: any tree ``domain/class/image``."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from domain_masks.data.dataset import SPLIT_OF_NAME, ImageDataset
from domain_masks.data.file_dataset import ImageFile, collection_paused, dataset_of_files
from domain_masks.data.split_lists import LISTS_FOLDER
from domain_masks.errors import InputError
from domain_masks.records.counts import first_of
from domain_masks.records.files import is_there, printable

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k"),
)
LAYOUT = "<domain>/<class>/<image>, such as photo/dog/1.jpg"
_SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "ehthumbs.db"}
_SHOWN_EXTENSIONS = 6
_LONGEST_EXTENSION = 5


@dataclass
class LeftOut:
    """Files in class folders that are not used: counts by extension, and of images in nested folders.

    - ``special``: images by their names that are links to nothing, or pipes and devices
    - ``class_names``: those of all class folders, also of folders without images
    """

    extensions: Counter[str] = field(default_factory=Counter)
    nested: int = 0
    special: int = 0
    class_names: set[str] = field(default_factory=set)

    def add(self, entry: os.DirEntry[str]) -> None:
        """Count an unused entry of a class folder."""
        if is_ignored(entry.name):
            return
        if not entry.is_dir():
            if is_image_name(entry.name):
                self.special += 1
                return
            self.extensions[PurePosixPath(entry.name).suffix.lower() or "no extension"] += 1
            return
        for _, folders, files in os.walk(entry.path):
            folders[:] = [name for name in folders if not is_ignored(name)]
            self.nested += sum(is_image_name(name) and not is_ignored(name) for name in files)

    def notes(self, root: Path, used: int, classes: Sequence[str] = ()) -> tuple[str, ...]:
        """Return a note with the classes that have no image, and one with the counts; none where everything is used."""
        empty = sorted(self.class_names - set(classes))
        if not empty:
            return self._counts(root, used)
        return (
            f"classes whose folders have no image in any domain of {root.name!r} are left out: {first_of(empty)}",
            *self._counts(root, used),
        )

    def _counts(self, root: Path, used: int) -> tuple[str, ...]:
        count = self.extensions.total() + self.nested + self.special
        if not count:
            return ()
        common = self.extensions.most_common(_SHOWN_EXTENSIONS)
        listed = ", ".join(f"{number:,} {extension}" for extension, number in common)
        more = ", ..." if len(self.extensions) > len(common) else ""
        reasons = [f"{self.extensions.total():,} by extension ({listed}{more})"] if self.extensions else []
        if self.special:
            reasons.append(f"{self.special:,} as links to nothing, pipes or devices")
        if self.nested:
            reasons.append(f"{self.nested:,} image{'s' * (self.nested > 1)} in folders within class folders")
        return (
            f"{count:,} of {count + used:,} files in the class folders of {root.name!r} are left out: {' and '.join(reasons)}; "
            f"`dmg data check {shlex.quote(str(root))}` lists them",
        )


def load_folder(directory: str | Path) -> ImageDataset:
    """Return the dataset in ``directory``, a tree ``domain/class/image``.

    Domains and classes are the names of the folders, sorted; the classes are those of all domains together, and a
    domain may lack some. Hidden files and those that operating systems create are ignored, so is a folder ``splits``
    without class folders; the notes count other unused files in class folders, and images in folders within them.
    Nothing is decoded. Raises InputError if the folder is missing or is arranged differently.
    """
    root = existing_folder(directory)
    left_out = LeftOut()
    images = find_images(root, left_out)
    domains = tuple(sorted({image.domain for image in images}))
    classes = tuple(sorted({image.class_name for image in images}))
    dataset = dataset_of_files(printable(root.resolve().name), root, images, (domains, classes))
    return replace(dataset, notes=left_out.notes(root, len(images), classes))


def existing_folder(directory: str | Path) -> Path:
    """Return ``directory`` as a path; raises InputError if it is missing or not a folder."""
    root = Path(directory)
    if not is_there(root):
        raise InputError(f"folder {str(root)!r} does not exist: expected a folder with domain/class/image files")
    if not root.is_dir():
        raise InputError(f"{str(root)!r} is a file: expected a folder with domain/class/image files")
    return root


def nearest_folder(root: Path, names: Sequence[str], parts: Sequence[str]) -> Path:
    """Return ``root`` or the folder in it, of one of ``names``, that has the most of the folders ``parts``."""
    candidates = (root, *(root / name for name in names))
    return max(candidates, key=lambda candidate: sum((candidate / part).is_dir() for part in parts))


@collection_paused()
def find_images(root: Path, left_out: LeftOut | None = None) -> list[ImageFile]:
    """Return the images below ``root``, sorted by path; ``left_out`` counts unused files.

    Raises InputError if there are none, if a domain folder has none, if images lie outside of class folders, if the folder of
    a domain or class is a link to nothing, and for errors of the file system: an unreadable folder, a link in a circle.
    """
    try:
        return _images_below(root, left_out)
    except OSError as error:
        raise InputError(
            f"{error.filename!r} cannot be read: {error.strerror or error}. Give permission or remove it; "
            "`dmg data check` lists everything that is wrong with a folder"
        ) from error


def _images_below(root: Path, left_out: LeftOut | None) -> list[ImageFile]:
    stray = _image_names(root)
    if stray:
        raise _wrong_layout(root, f"images directly in it, such as {stray[0]!r}")
    refuse_missing_folders(root)
    folders = folders_in(root)
    if not folders:
        raise _wrong_layout(root, "no folders")
    _refuse_splits(root, folders)
    images: list[ImageFile] = []
    for domain in folders:
        refuse_missing_folders(root / domain)
        class_folders = folders_in(root / domain)
        if domain == LISTS_FOLDER and not class_folders:
            continue
        stray = _image_names(root / domain)
        if stray:
            raise _wrong_layout(root, f"images in a folder of the first level, such as {domain}/{stray[0]}")
        if left_out is not None:
            left_out.class_names.update(class_folders)
        here = [image for name in class_folders for image in images_in(root, f"{domain}/{name}", left_out)]
        if not here:
            content = "no image in its class folders" if class_folders else "no class folders"
            raise _wrong_layout(root, f"{content} in {domain!r}")
        images += here
    if not images:
        raise _wrong_layout(root, "no domain folders")
    return sorted(images, key=lambda image: image.path)


def _wrong_layout(root: Path, got: str) -> InputError:
    return InputError(
        f"{str(root)!r}: expected {LAYOUT} ({', '.join(EXTENSIONS)}), "
        f"got {got}; arrange the folders by domain first, then by class"
    )


def _refuse_splits(root: Path, folders: list[str]) -> None:
    """Raise InputError where the folders of the first level are splits of a dataset, not domains."""
    parts = [name for name in folders if name != LISTS_FOLDER]
    if not parts or not are_splits(parts):
        return
    listed = ", ".join(parts)
    raise InputError(
        f"{str(root)!r}: expected a folder for each domain, such as photo and sketch, got {listed}, which are parts of a "
        "dataset: held out would be images of the same domains. Put the class folders of each domain into a folder of that "
        "domain (<domain>/<class>/<image>), or list the images in a .csv with the columns path, label, domain and split, where "
        f"split says {listed}"
    )


def are_splits(names: Iterable[str]) -> bool:
    """Return whether all folders are named like splits of a dataset, and so are not domains."""
    return {name.lower() for name in names} <= SPLIT_OF_NAME.keys()


def is_ignored(name: str) -> bool:
    """Return whether a file or folder of this name is ignored: hidden, or created by an operating system."""
    return name.startswith(".") or name in _SYSTEM_FOLDERS or name.lower() in _SYSTEM_FILES


def folders_in(directory: Path) -> list[str]:
    """Return the names of the folders in ``directory``, sorted, without hidden ones and those of operating systems."""
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not is_ignored(entry.name))


def refuse_missing_folders(directory: Path) -> None:
    """Raise InputError where ``directory`` has a link to nothing that may stand for a folder, as its name has no extension.

    A domain or class that is on a disk that is not mounted would be missing from the dataset without a word.
    """
    with os.scandir(directory) as entries:
        gone = sorted(
            entry.name
            for entry in entries
            if entry.is_symlink() and not is_ignored(entry.name) and has_no_extension(entry.name) and not _exists(entry)
        )
    if gone:
        raise InputError(
            f"{directory.name!r} has links to nothing in place of folders: {first_of(gone)}. Restore what they point to (is a "
            "disk not mounted?), or remove the links to do without"
        )


def has_no_extension(name: str) -> bool:
    """Return whether a name has no extension of one to five letters and digits: it may be that of a folder."""
    suffix = PurePosixPath(name).suffix[1:]
    return not (suffix.isalnum() and len(suffix) <= _LONGEST_EXTENSION and not suffix.isdecimal())


def _exists(entry: os.DirEntry[str]) -> bool:
    try:
        entry.stat()
    except FileNotFoundError:
        return False
    return True


def _is_image(entry: os.DirEntry[str]) -> bool:
    return is_image_name(entry.name) and not is_ignored(entry.name) and entry.is_file()


def is_image_name(name: str) -> bool:
    """Return whether a file is an image by its extension."""
    return name.lower().endswith(EXTENSIONS)


def _image_names(directory: Path) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if _is_image(entry))


def images_in(root: Path, folder: str, left_out: LeftOut | None = None) -> list[ImageFile]:
    """Return the images in the class folder ``folder`` (``domain/class``) below ``root``, in no particular order.

    ``left_out`` counts its other entries.
    """
    domain, _, class_name = folder.rpartition("/")
    chosen = []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if _is_image(entry):
                chosen.append((f"{folder}/{entry.name}", entry.stat()))
            elif left_out is not None:
                left_out.add(entry)
    return [ImageFile(path, domain, class_name, state.st_size, state.st_mtime_ns) for path, state in chosen]
