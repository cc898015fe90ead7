"""Lists of images beside the folders: ``<domain>_*.txt`` with lines "path label"."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from domain_masks.data.checking.findings import Example, Finding, by_path, counted
from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.text_files import decoded_text

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("crossval", "val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A line of a list: where it stands, the path and the label that it gives, and the split of its list."""

    place: str
    path: str
    label: int
    split: str


def read_lists(root: Path, names: Sequence[str], domains: Sequence[str]) -> tuple[list[ListedImage], list[Finding]]:
    """Read the lists among the text files ``names`` that belong to one of ``domains``; others are left alone."""
    lines: list[ListedImage] = []
    odd: list[Example] = []
    for name in names:
        stem = PurePosixPath(name).stem
        domain = max((domain for domain in domains if stem.startswith(f"{domain}_")), key=len, default=None)
        if domain is None:
            continue
        words = re.split(r"[_\W]+", stem.removeprefix(f"{domain}_").lower())
        split = next((_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS), "")
        try:
            text = decoded_text((root / name).read_bytes(), errors="surrogateescape")
        except (OSError, UnicodeError) as error:
            reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
            odd.append(Example((name,), reason))
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            path, _, label = line.strip().rpartition(" ")
            if path and label.isdecimal():
                lines.append(ListedImage(f"{name}:{number}", path.strip(), int(label), split))
            elif line.strip():
                odd.append(Example((f"{name}:{number}",), repr(line[:60])))
    found = []
    if odd:
        what = f"{counted(len(odd), 'line')} of the lists that cannot be understood"
        found.append(Finding("list-line", "warning", what, "Write every line as 'path label'.", tuple(odd)))
    return lines, found


def apply_lists(
    images: Sequence[CheckedImage], lines: Sequence[ListedImage]
) -> tuple[tuple[CheckedImage, ...], list[Finding]]:
    """Return the images with the splits that the lists give them, and what is wrong with the lists.

    An image may have another extension than in its list. A list of test images that holds all others of its domain is
    one of everything, as in PACS, and no split.
    """
    if not lines:
        return tuple(images), []
    by_path_name = {image.path: image for image in images}
    by_stem = {_stem(image.path): image for image in images}
    splits: defaultdict[str, set[str]] = defaultdict(set)
    labels: defaultdict[str, set[int]] = defaultdict(set)
    absent: dict[str, Example] = {}
    for line in lines:
        image = by_path_name.get(line.path) or by_stem.get(_stem(line.path))
        if image is None:
            absent.setdefault(line.path, Example((line.path,), f"in {line.place}"))
            continue
        splits[image.path].add(line.split)
        labels[image.path].add(line.label)
    whole = _lists_of_everything(images, splits)
    for path in splits:
        if by_path_name[path].domain in whole:
            splits[path].discard("test")
    known = tuple(
        replace(image, split=next(iter(splits[image.path]))) if len(splits.get(image.path, ())) == 1 else image
        for image in images
    )
    return known, [
        *_places(images, splits, absent),
        *_label_findings([by_path_name[path] for path in labels], labels),
    ]


def number_findings(numbers: set[int], where: str) -> list[Finding]:
    """Return what is odd about whole numbers that stand for classes: gaps, or a count from 1."""
    if not numbers:
        return []
    lowest, highest = min(numbers), max(numbers)
    gaps = sorted(set(range(min(lowest, 1), highest + 1)) - numbers)
    if gaps:
        missing = ", ".join(map(str, gaps[:10])) + (", ..." if len(gaps) > 10 else "")
        return [
            Finding(
                "label-gaps",
                "warning",
                f"labels in {where} with gaps: {len(numbers)} of {lowest} to {highest}, none is {missing}",
                "Look whether classes are missing.",
            )
        ]
    if lowest == 1:
        return [
            Finding(
                "labels-from-1",
                "note",
                f"labels in {where} count from 1, to {highest}",
                "Nothing to do here; a program that counts from 0 has to subtract 1.",
            )
        ]
    return []


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def _lists_of_everything(images: Sequence[CheckedImage], splits: dict[str, set[str]]) -> set[str]:
    of_domain: defaultdict[str, list[set[str]]] = defaultdict(list)
    for image in images:
        if image.path in splits:
            of_domain[image.domain].append(splits[image.path])
    return {
        domain
        for domain, given in of_domain.items()
        if all("test" in names for names in given) and any(names & {"train", "val"} for names in given)
    }


def _places(images: Sequence[CheckedImage], splits: dict[str, set[str]], absent: dict[str, Example]) -> list[Finding]:
    found = []
    several = [Example((path,), ", ".join(sorted(names))) for path, names in sorted(splits.items()) if len(names) > 1]
    if several:
        what = f"{counted(len(several), 'image')} in the lists of several splits"
        found.append(Finding("list-leak", "error", what, "Keep each in one list only.", tuple(several)))
    if absent:
        what = f"{counted(len(absent), 'listed image')} that {'is' if len(absent) == 1 else 'are'} not there"
        advice = "Fetch the missing files, or take them out of the lists."
        found.append(Finding("list-absent", "warning", what, advice, tuple(absent.values())))
    listed_domains = {image.domain for image in images if image.path in splits}
    unlisted = [
        image.path for image in images if image.placed and image.domain in listed_domains and image.path not in splits
    ]
    if unlisted:
        what = f"{counted(len(unlisted), 'image')} in no list of {'its' if len(unlisted) == 1 else 'their'} domain"
        found.append(
            Finding("list-lacks", "warning", what, "Add them to a list, or remove the files.", by_path(unlisted))
        )
    return found


def _label_findings(listed: Sequence[CheckedImage], labels: dict[str, set[int]]) -> list[Finding]:
    numbers: defaultdict[str, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for image in listed:
        for label in labels[image.path]:
            numbers[image.class_name][label].append(image.path)
    wrong = []
    usual = {}
    for class_name, of_label in numbers.items():
        usual[class_name] = max(of_label, key=lambda label: len(of_label[label]))
        for label, paths in of_label.items():
            if label != usual[class_name]:
                detail = f"label {label}, where others of {class_name!r} have {usual[class_name]}"
                wrong += [Example((path,), detail) for path in paths]
    classes_of: defaultdict[int, list[str]] = defaultdict(list)
    for class_name, label in usual.items():
        classes_of[label].append(class_name)
    shared = [Example(tuple(names), f"label {label}") for label, names in sorted(classes_of.items()) if len(names) > 1]
    found = []
    if wrong:
        what = f"{counted(len(wrong), 'image')} whose label in the lists contradicts the class folder"
        found.append(Finding("list-label", "error", what, "Correct the list or move the image.", tuple(wrong)))
    if shared:
        verb = "stands" if len(shared) == 1 else "stand"
        what = f"{counted(len(shared), 'label')} in the lists that {verb} for several class folders"
        advice = "Give every class a label of its own."
        found.append(Finding("list-shared-label", "error", what, advice, tuple(shared)))
    everything = {label for of_label in numbers.values() for label in of_label}
    return found + number_findings(everything, "the lists")
