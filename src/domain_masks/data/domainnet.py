"""DomainNet: 345 classes in six domains, with official training and test lists.

Peng, Bai, Xia, Huang, Saenko, Wang: "Moment Matching for Multi-Source Domain Adaptation", ICCV 2019. About 586,600
images (the cleaned version): clipart, infograph, painting, quickdraw, real, sketch. There is no official validation
list: :func:`split_domains` draws a tenth of each source's training list for it, by the split seed, unless validation
lists lie beside the others, as the authors of DMG published theirs.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from sys import intern

import numpy as np

from domain_masks.data.dataset import SPLIT_NAMES, ImageDataset, Int64Array
from domain_masks.data.file_dataset import ImageFile, collection_paused, dataset_of_files
from domain_masks.data.folders import existing_folder, nearest_folder
from domain_masks.data.split_lists import LISTS_FOLDER, ListLine, read_split_list
from domain_masks.errors import InputError, collected

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")

_FOLDERS = ("domainnet", "DomainNet", "domain_net")
_FEWEST_DOMAINS = 3


def load_domainnet(root: str | Path) -> ImageDataset:
    """Return DomainNet from its folder, or from the parent of a folder domainnet, DomainNet or domain_net.

    The folder holds ``<domain>/<class>/<image>`` and, in it or in its folder ``splits``, the lists
    ``<domain>_{train,test}.txt`` (lines "path label", labels from 0), and ``<domain>_val.txt`` of every domain or of
    none. Images that are in no list are ignored. Domains without a folder are left out, which the notes say, as long as
    three are there. Only the names of the files are checked, not their content or modification time.

    Raises InputError if domains, lists or listed images are missing, or if the lists contradict each other.
    """
    directory = nearest_folder(existing_folder(root), _FOLDERS, DOMAINS)
    present = tuple(domain for domain in DOMAINS if (directory / domain).is_dir())
    if len(present) < _FEWEST_DOMAINS:
        raise InputError(
            f"no DomainNet in {str(root)!r}: expected at least {_FEWEST_DOMAINS} of the folders {', '.join(DOMAINS)} in it, "
            f"or in a folder domainnet of it, got {', '.join(present) or 'none'}; give the dataset's folder or its parent"
        )
    absent = [domain for domain in DOMAINS if domain not in present]
    note = (
        f"DomainNet in {str(directory)!r} is used without {', '.join(absent)}, whose folders are missing: accuracies are not "
        "comparable with those on all six domains"
    )
    files, classes = read_lists(directory, present)
    changed = _check_images(directory, files)
    dataset = dataset_of_files("domainnet", directory, files, (present, classes), changed)
    return replace(dataset, notes=(note,) if absent else ())


@collection_paused()
def read_lists(directory: Path, domains: tuple[str, ...]) -> tuple[list[ImageFile], tuple[str, ...]]:
    """Read the lists of ``domains`` from ``directory`` or its folder ``splits``; images are not looked for.

    Returns a row per listed image, sorted by domain and path, and the classes in the order of their labels.

    Raises InputError, one for all, if lists are missing, have other lines than "path label", name an image twice, or
    give a label to two classes or a class two labels.
    """
    paths = {(domain, split): _list_path(directory, domain, split) for domain in domains for split in SPLIT_NAMES}
    with_validation = {domain for domain in domains if paths[domain, "val"].is_file()}
    wanted = SPLIT_NAMES if with_validation else ("train", "test")
    missing = [
        paths[domain, split].name for domain in domains for split in wanted if not paths[domain, split].is_file()
    ]
    if missing:
        hint = "; validation lists are needed for every domain, or for none" if with_validation else ""
        raise InputError(
            f"DomainNet in {str(directory)!r}: {len(missing)} lists are missing: {', '.join(missing)}; put them into "
            f"that folder or its folder {LISTS_FOLDER}{hint}"
        )
    mistakes: list[str] = []
    files: list[ImageFile] = []
    labels: list[int] = []
    for domain in domains:
        listed = [(line, split) for split in wanted for line in read_list(paths[domain, split], domain, mistakes)]
        listed.sort(key=lambda entry: entry[0].path)
        mistakes += [
            f"{line.path} is listed twice, in {split} and {other_split}"
            for (line, split), (following, other_split) in pairwise(listed)
            if line.path == following.path
        ]
        files += [
            ImageFile(line.path, domain, intern(line.path.split("/", 2)[1]), split=split) for line, split in listed
        ]
        labels += [line.label for line, _ in listed]
    classes = _class_names([file.class_name for file in files], labels, mistakes)
    if mistakes:
        raise collected(f"DomainNet's lists in {str(directory)!r}", mistakes, "fetch the lists again")
    return files, classes


def read_list(file: Path, domain: str, mistakes: list[str]) -> list[ListLine]:
    """Return the lines of one list, labels from 0; malformed lines are added to ``mistakes``."""
    try:
        lines, odd = read_split_list(file)
    except (OSError, UnicodeDecodeError) as error:
        mistakes.append(f"{file.name} cannot be read: {error}")
        return []
    start = f"{domain}/"
    own = [line for line in lines if line.path.startswith(start) and line.path.count("/") == 2]
    if len(own) < len(lines):
        odd |= {line.number: f"{line.path} {line.label}" for line in set(lines) - set(own)}
    mistakes += [
        f"{file.name}, line {number}: expected '{domain}/class/file label', got {odd[number]!r}"
        for number in sorted(odd)
    ]
    return own


def _list_path(directory: Path, domain: str, split: str) -> Path:
    name = f"{domain}_{split}.txt"
    inside = directory / LISTS_FOLDER / name
    return inside if inside.is_file() else directory / name


def _class_names(names: list[str], listed: list[int], mistakes: list[str]) -> tuple[str, ...]:
    """Return the class names in the order of their labels, as the paths name them."""
    classes: dict[int, str] = {}
    labels: dict[str, int] = {}
    for label, name in sorted(set(zip(listed, names, strict=True))):
        if classes.setdefault(label, name) != name:
            mistakes.append(f"label {label} stands for {classes[label]!r} and for {name!r}")
        if labels.setdefault(name, label) != label:
            mistakes.append(f"class {name!r} has the labels {labels[name]} and {label}")
    if not classes and not mistakes:
        mistakes.append("they name no images")
    if gaps := [str(label) for label in range(max(classes, default=-1)) if label not in classes]:
        mistakes.append(f"no image has the label {', '.join(gaps)}, though labels go up to {max(classes)}")
    return tuple(classes[label] for label in sorted(classes))


def _check_images(directory: Path, files: list[ImageFile]) -> Int64Array:
    """Raise InputError if listed images are missing; return the folders' modification times, in nanoseconds."""
    names: dict[str, list[str]] = {}
    for file in files:
        folder, _, name = file.path.rpartition("/")
        names.setdefault(folder, []).append(name)
    changed, missing = [], []
    for folder, listed in names.items():
        try:
            present = set(os.listdir(directory / folder))  # noqa: PTH208 - only names are needed
            changed.append((directory / folder).stat().st_mtime_ns)
        except OSError:
            present = set()
        missing += [f"{folder}/{name} is listed but missing" for name in listed if name not in present]
    if missing:
        raise collected(
            f"DomainNet in {str(directory)!r}",
            missing,
            f"{len(missing)} of {len(files)} images: fetch them again",
            5,
        )
    return np.array(changed, dtype=np.int64)
