"""DomainNet: 345 classes in six domains, with official training and test lists.

Peng, Bai, Xia, Huang, Saenko, Wang: "Moment Matching for Multi-Source Domain Adaptation", ICCV 2019. About 586,600
images (the cleaned version): clipart, infograph, painting, quickdraw, real, sketch. There is no official validation
list: :func:`split_domains` draws a tenth of each source's training list for it, by the split seed, unless validation
lists lie beside the others, as the authors of DMG published theirs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from domain_masks.data.dataset import SPLIT_NAMES, ImageDataset, Int64Array, TextArray, fingerprint_of
from domain_masks.data.folders import existing_folder
from domain_masks.data.openers import FileOpener
from domain_masks.data.split_lists import LISTS_FOLDER, read_split_list
from domain_masks.errors import InputError, collected

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")

_FOLDERS = ("domainnet", "DomainNet", "domain_net")
_FEWEST_DOMAINS = 3


@dataclass(frozen=True)
class DomainNetLists:
    """What the lists of some domains say, one row per image, sorted by domain and path.

    - ``ids``: paths "domain/class/file"; ``class_names``: the class in each of them
    - ``labels``, ``domain_indices``: (N,) int64, indices into ``classes`` and ``domains``
    - ``splits``: (N,) of "train", "val" and "test"
    """

    domains: tuple[str, ...]
    classes: tuple[str, ...]
    ids: tuple[str, ...] = field(repr=False)
    labels: Int64Array = field(repr=False)
    domain_indices: Int64Array = field(repr=False)
    splits: TextArray = field(repr=False)


def load_domainnet(root: str | Path) -> ImageDataset:
    """Return DomainNet from its folder, or from the parent of a folder domainnet, DomainNet or domain_net.

    The folder holds ``<domain>/<class>/<image>`` and, in it or in its folder ``splits``, the lists
    ``<domain>_{train,test}.txt`` (lines "path label", labels from 0), and ``<domain>_val.txt`` of every domain or of
    none. Images that are in no list are ignored. Domains without a folder are left out, which the notes say, as long as
    three are there. Only the names of the files are looked at, not their content or time of change.

    Raises InputError if domains, lists or listed images are missing, or if the lists contradict each other.
    """
    directory = _own_folder(existing_folder(root))
    present = tuple(domain for domain in DOMAINS if (directory / domain).is_dir())
    if len(present) < _FEWEST_DOMAINS:
        raise InputError(
            f"no DomainNet in {str(root)!r}: expected at least {_FEWEST_DOMAINS} of the folders {', '.join(DOMAINS)} in it, "
            f"or in a folder domainnet of it, got {', '.join(present) or 'none'}; give the dataset's folder or its parent"
        )
    absent = [domain for domain in DOMAINS if domain not in present]
    note = (
        f"DomainNet in {str(directory)!r} is used without {', '.join(absent)}, of which there is no folder: accuracies are not "
        "comparable with those on all six domains"
    )
    lists = read_lists(directory, present)
    changed = _check_images(directory, lists)
    return ImageDataset(
        name="domainnet",
        classes=lists.classes,
        domains=lists.domains,
        ids=lists.ids,
        labels=lists.labels,
        domain_indices=lists.domain_indices,
        splits=lists.splits,
        open_image=FileOpener(directory.resolve(), lists.ids),
        fingerprint=fingerprint_of(
            [("domainnet",), lists.classes, lists.domains, lists.ids], [lists.labels, lists.domain_indices, changed]
        ),
        notes=(note,) if absent else (),
    )


def _own_folder(root: Path) -> Path:
    candidates = (root, *(root / name for name in _FOLDERS))
    return max(candidates, key=lambda candidate: sum((candidate / domain).is_dir() for domain in DOMAINS))


def read_lists(directory: Path, domains: tuple[str, ...]) -> DomainNetLists:
    """Read the lists of ``domains`` from ``directory`` or its folder ``splits``; images are not looked for.

    Raises InputError, one for all, if lists are missing, have other lines than "path label", name an image twice, or
    give a label to two classes or a class two labels.
    """
    files = {(domain, split): _list_path(directory, domain, split) for domain in domains for split in SPLIT_NAMES}
    with_validation = {domain for domain in domains if files[domain, "val"].is_file()}
    wanted = SPLIT_NAMES if with_validation else ("train", "test")
    missing = [
        files[domain, split].name for domain in domains for split in wanted if not files[domain, split].is_file()
    ]
    if missing:
        hint = "; lists of validation images are needed for every domain, or for none" if with_validation else ""
        raise InputError(
            f"DomainNet in {str(directory)!r}: {len(missing)} lists are missing: {', '.join(missing)}; put them into "
            f"that folder or its folder {LISTS_FOLDER}{hint}"
        )
    mistakes: list[str] = []
    ids: list[str] = []
    columns: list[tuple[Int64Array, Int64Array, TextArray]] = []
    for index, domain in enumerate(domains):
        paths: list[str] = []
        labels: list[int] = []
        splits: list[str] = []
        for split in wanted:
            listed, with_labels = read_list(files[domain, split], domain, mistakes)
            paths += listed
            labels += with_labels
            splits += [split] * len(listed)
        order = sorted(range(len(paths)), key=paths.__getitem__)
        if len(set(paths)) < len(paths):
            mistakes += [
                f"{paths[first]} is listed twice, in {splits[first]} and {splits[second]}"
                for first, second in pairwise(order)
                if paths[first] == paths[second]
            ]
        ids += [paths[row] for row in order]
        own = np.full(len(order), index, dtype=np.int64)
        columns.append((np.array(labels, dtype=np.int64)[order], own, np.array(splits, dtype=np.str_)[order]))
    all_labels, domain_indices, all_splits = (np.concatenate(column) for column in zip(*columns, strict=True))
    classes = _class_names(ids, all_labels.tolist(), mistakes)
    if mistakes:
        raise collected(f"DomainNet's lists in {str(directory)!r}", mistakes, "fetch the lists again")
    return DomainNetLists(domains, classes, tuple(ids), all_labels, domain_indices, all_splits)


def read_list(file: Path, domain: str, mistakes: list[str]) -> tuple[list[str], list[int]]:
    """Return the paths and labels, from 0, of one list; lines that are none are described in ``mistakes``."""
    try:
        lines, odd = read_split_list(file)
    except (OSError, UnicodeDecodeError) as error:
        mistakes.append(f"{file.name} cannot be read: {error}")
        return [], []
    start = f"{domain}/"
    own = [line for line in lines if line.path.startswith(start) and line.path.count("/") == 2]
    if len(own) < len(lines):
        odd |= {line.number: f"{line.path} {line.label}" for line in set(lines) - set(own)}
    mistakes += [
        f"{file.name}, line {number}: expected '{domain}/class/file label', got {odd[number]!r}"
        for number in sorted(odd)
    ]
    return [line.path for line in own], [line.label for line in own]


def _list_path(directory: Path, domain: str, split: str) -> Path:
    name = f"{domain}_{split}.txt"
    inside = directory / LISTS_FOLDER / name
    return inside if inside.is_file() else directory / name


def _class_names(ids: list[str], listed: list[int], mistakes: list[str]) -> tuple[str, ...]:
    """Return the class of every label, from 0 on, as the paths name it."""
    classes: dict[int, str] = {}
    labels: dict[str, int] = {}
    names = (path.split("/", 2)[1] for path in ids)
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


def _check_images(directory: Path, lists: DomainNetLists) -> Int64Array:
    """Raise InputError if listed images are missing; return the folders' times of change, in nanoseconds."""
    names: dict[str, list[str]] = {}
    for path in lists.ids:
        folder, _, name = path.rpartition("/")
        names.setdefault(folder, []).append(name)
    changed, missing = [], []
    for folder, listed in names.items():
        try:
            present = set(os.listdir(directory / folder))  # noqa: PTH208 - names are all that is needed
            changed.append((directory / folder).stat().st_mtime_ns)
        except OSError:
            present = set()
        missing += [f"{folder}/{name} is listed but not there" for name in listed if name not in present]
    if missing:
        raise collected(
            f"DomainNet in {str(directory)!r}",
            missing,
            f"{len(missing)} of {len(lists.ids)} images: fetch them again",
            5,
        )
    return np.array(changed, dtype=np.int64)
