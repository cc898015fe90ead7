"""The same image in several places: contradicting labels, leaks, repetitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from domain_masks.data.checking.findings import Example, Finding, Severity, counted
from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.names import folded

Group = tuple[CheckedImage, ...]


def duplicate_findings(images: Sequence[CheckedImage]) -> list[Finding]:
    """Return where the same image, pixel by pixel, is there more than once.

    A group of equal images is reported for each thing that is wrong with it: labels that contradict each other, places
    in several domains, places in several splits of one domain, and repetitions within one domain, class and split.
    """
    groups = _equal(images)
    has_splits = any(image.split for image in images)
    found = [
        *_finding(
            "contradicting-labels",
            "error",
            [group for group in groups if len({folded(image.class_name) for image in group}) > 1],
            "in several classes: all labels but one are wrong",
            "Decide which label is right and remove the other images.",
        ),
        *_finding(
            "same-in-domains",
            "error",
            [group for group in groups if len({folded(image.domain) for image in group}) > 1],
            "in several domains: with one of them held out, it is measured on what it was trained on",
            "Keep each image in one domain only. Where the dataset is a published one, say so beside the result.",
        ),
    ]
    within = _parts(groups, lambda image: folded(image.domain))
    if has_splits:
        found += _leaks(within)
    repeated = _parts(within, lambda image: (folded(image.class_name), image.split))
    where = "class and split" if has_splits else "class"
    return found + _finding(
        "repeated",
        "warning",
        repeated,
        f"more than once in the same domain and {where}"
        + ("" if has_splits else ": copies may be divided between training, validation and test"),
        "Remove the copies: they count double"
        + ("." if has_splits else ", and those that are trained on make validation and in-domain test too easy."),
    )


def _leaks(within: list[Group]) -> list[Finding]:
    test = [group for group in within if len(splits := _splits(group)) > 1 and "test" in splits]
    validation = [group for group in within if {"train", "val"} <= _splits(group)]
    return [
        *_finding(
            "leak-into-test",
            "error",
            test,
            "in the test part and in another part of its domain: it is measured on what it was trained on or chosen by",
            "Remove the copies from all parts but one.",
        ),
        *_finding(
            "leak-into-validation",
            "warning",
            validation,
            "in the training and the validation part of its domain: the choice of the epoch is too optimistic",
            "Remove the copies from one of the two, or keep it in mind where the lists are a published protocol.",
        ),
    ]


def _splits(group: Group) -> set[str]:
    return {image.split for image in group if image.split}


def _equal(images: Iterable[CheckedImage]) -> list[Group]:
    """Return the groups of images with equal pixels, largest first; a path named twice is no pair."""
    by_pixels: defaultdict[str, dict[str, CheckedImage]] = defaultdict(dict)
    for image in images:
        if image.placed and image.facts is not None:
            by_pixels[image.facts.pixel_hash].setdefault(image.path, image)
    groups = [tuple(members.values()) for members in by_pixels.values() if len(members) > 1]
    return sorted(groups, key=lambda group: (-len(group), group[0].path))


def _parts(groups: Iterable[Group], key: Callable[[CheckedImage], object]) -> list[Group]:
    """Divide every group by ``key`` and return the parts that still hold several images."""
    parts = []
    for group in groups:
        divided: defaultdict[object, list[CheckedImage]] = defaultdict(list)
        for image in group:
            divided[key(image)].append(image)
        parts += [tuple(members) for members in divided.values() if len(members) > 1]
    return parts


def _finding(code: str, severity: Severity, groups: Sequence[Group], where: str, advice: str) -> list[Finding]:
    if not groups:
        return []
    examples = []
    other_files = 0
    for group in groups:
        differs = len({image.facts.file_hash for image in group if image.facts is not None}) > 1
        other_files += differs
        examples.append(Example(tuple(image.path for image in group), "equal pixels, other file" if differs else ""))
    count = sum(map(len, groups))
    what = f"{counted(len(groups), 'image')} ({counted(count, 'file')}) {where}"
    if other_files:
        what += f"; the files of {other_files:,} differ in bytes though not in pixels"
    return [Finding(code, severity, what, advice, tuple(examples))]
