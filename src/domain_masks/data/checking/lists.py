"""Checks of image lists beside the folders: ``<domain>_*.txt`` with lines "path label"."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.checking.occurrences import Finding, Occurrence, finding, findings
from domain_masks.data.dataset import SPLIT_OF_NAME
from domain_masks.data.split_lists import ImagePaths, read_split_list


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A line of a list: its position, its path and label, and the split of its list."""

    place: str
    path: str
    label: int
    split: str


def read_lists(root: Path, names: Sequence[str], domains: Sequence[str]) -> tuple[list[ListedImage], list[Finding]]:
    """Read the lists among the text files ``names`` that belong to one of ``domains``; others are ignored."""
    listed: list[ListedImage] = []
    odd: list[Occurrence] = []
    for name in names:
        stem = PurePosixPath(name).stem
        domain = max((domain for domain in domains if stem.startswith(f"{domain}_")), key=len, default=None)
        if domain is None:
            continue
        words = re.split(r"[_\W]+", stem.removeprefix(f"{domain}_").lower())
        split = next((SPLIT_OF_NAME[word] for word in words if word in SPLIT_OF_NAME), "")
        try:
            lines, wrong = read_split_list(root / name)
        except (OSError, UnicodeError) as error:
            reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
            odd.append(Occurrence((name,), reason))
            continue
        listed += [ListedImage(f"{name}:{line.number}", line.path, line.label, split) for line in lines]
        odd += [Occurrence((f"{name}:{number}",), repr(text[:60])) for number, text in wrong.items()]
    return listed, findings("list-line", odd)


def apply_lists(
    images: Sequence[CheckedImage], lines: Sequence[ListedImage]
) -> tuple[tuple[CheckedImage, ...], list[Finding]]:
    """Return the images with their splits from the lists, and the findings about the lists.

    An image may have another extension than in its list. A test list that contains all other lists of its domain lists
    all images, as in PACS, and is no split.
    """
    if not lines:
        return tuple(images), []
    by_path = {image.path: image for image in images}
    paths = ImagePaths(by_path)
    splits: defaultdict[str, set[str]] = defaultdict(set)
    labels: defaultdict[str, set[int]] = defaultdict(set)
    absent: dict[str, Occurrence] = {}
    for line in lines:
        path = paths.find(line.path)
        if path is None:
            absent.setdefault(line.path, Occurrence((line.path,), f"in {line.place}"))
            continue
        splits[path].add(line.split)
        labels[path].add(line.label)
    whole = _lists_of_everything(images, splits)
    for path in splits:
        if by_path[path].domain in whole:
            splits[path].discard("test")
    known = tuple(
        replace(image, split=next(iter(splits[image.path]))) if len(splits.get(image.path, ())) == 1 else image
        for image in images
    )
    several = (Occurrence((path,), ", ".join(sorted(own))) for path, own in sorted(splits.items()) if len(own) > 1)
    listed_domains = {by_path[path].domain for path in splits}
    unlisted = (image for image in images if image.placed and image.path not in splits)
    return known, [
        *findings("list-leak", several),
        *findings("list-absent", absent.values()),
        *findings("list-lacks", (image.path for image in unlisted if image.domain in listed_domains)),
        *_label_findings([by_path[path] for path in labels], labels),
    ]


def number_findings(numbers: set[int], where: str) -> list[Finding]:
    """Return findings about integer labels: gaps, or a count from 1."""
    if not numbers:
        return []
    lowest, highest = min(numbers), max(numbers)
    gaps = sorted(set(range(min(lowest, 1), highest + 1)) - numbers)
    if gaps:
        missing = ", ".join(map(str, gaps[:10])) + (", ..." if len(gaps) > 10 else "")
        span = f"{len(numbers)} of {lowest} to {highest}"
        return [finding("label-gaps", where=where, numbers=span, missing=missing)]
    return [finding("labels-from-1", where=where, highest=highest)] if lowest == 1 else []


def _lists_of_everything(images: Sequence[CheckedImage], splits: dict[str, set[str]]) -> set[str]:
    of_domain: defaultdict[str, list[set[str]]] = defaultdict(list)
    for image in images:
        if image.path in splits:
            of_domain[image.domain].append(splits[image.path])
    return {
        domain
        for domain, splits_of_images in of_domain.items()
        if all("test" in names for names in splits_of_images)
        and any(names & {"train", "val"} for names in splits_of_images)
    }


def _label_findings(listed: Sequence[CheckedImage], labels: dict[str, set[int]]) -> list[Finding]:
    numbers: defaultdict[str, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for image in listed:
        for label in labels[image.path]:
            numbers[image.class_name][label].append(image.path)
    wrong = []
    classes_of: defaultdict[int, list[str]] = defaultdict(list)
    for class_name, of_label in numbers.items():
        usual = max(of_label, key=lambda label: len(of_label[label]))
        classes_of[usual].append(class_name)
        for label, paths in of_label.items():
            if label != usual:
                detail = f"label {label}, where others of {class_name!r} have {usual}"
                wrong += [Occurrence((path,), detail) for path in paths]
    shared = (
        Occurrence(tuple(names), f"label {label}") for label, names in sorted(classes_of.items()) if len(names) > 1
    )
    everything = {label for of_label in numbers.values() for label in of_label}
    return [
        *findings("list-label", wrong),
        *findings("list-shared-label", shared),
        *number_findings(everything, "the lists"),
    ]
