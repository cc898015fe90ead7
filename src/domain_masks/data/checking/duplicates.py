"""Checks for duplicate images: contradicting labels, leaks between splits or domains, repetitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.checking.occurrences import Finding, Occurrence, findings
from domain_masks.data.similar_names import folded
from domain_masks.records.counts import counted

Copies = tuple[CheckedImage, ...]


def duplicate_findings(images: Sequence[CheckedImage]) -> list[Finding]:
    """Return the findings about images with equal pixels.

    Equal images are reported per problem: contradicting labels, copies in several domains, copies in several
    splits of one domain, and repetitions within one domain, class and split.
    """
    everything = _equal(images)
    has_splits = any(image.split for image in images)
    within = _parts(everything, lambda image: folded(image.domain))
    several = [(copies, splits) for copies in within if len(splits := {image.split for image in copies} - {""}) > 1]
    repeated = _parts(within, lambda image: (folded(image.class_name), image.split))
    return [
        *_copies("contradicting-labels", (copies for copies in everything if _differ(copies, "class_name"))),
        *_copies("same-in-domains", (copies for copies in everything if _differ(copies, "domain"))),
        *_copies("leak-into-test", (copies for copies, splits in several if "test" in splits)),
        *_copies("leak-into-validation", (copies for copies, splits in several if {"train", "val"} <= splits)),
        *_copies("repeated", repeated, where="class and split" if has_splits else "class"),
    ]


def _differ(copies: Copies, name: str) -> bool:
    return len({folded(getattr(image, name)) for image in copies}) > 1


def _equal(images: Iterable[CheckedImage]) -> list[Copies]:
    """Return the sets of images with equal pixels, largest first; a path named twice is no pair."""
    by_pixels: defaultdict[str, dict[str, CheckedImage]] = defaultdict(dict)
    for image in images:
        if image.placed and image.facts is not None:
            by_pixels[image.facts.pixel_hash].setdefault(image.path, image)
    sets = [tuple(members.values()) for members in by_pixels.values() if len(members) > 1]
    return sorted(sets, key=lambda copies: (-len(copies), copies[0].path))


def _parts(sets: Iterable[Copies], key: Callable[[CheckedImage], object]) -> list[Copies]:
    """Divide every set by ``key`` and return the parts that still hold several images."""
    parts = []
    for copies in sets:
        divided: defaultdict[object, list[CheckedImage]] = defaultdict(list)
        for image in copies:
            divided[key(image)].append(image)
        parts += [tuple(members) for members in divided.values() if len(members) > 1]
    return parts


def _copies(code: str, sets: Iterable[Copies], where: str = "") -> list[Finding]:
    places = []
    for copies in sets:
        differ = len({image.facts.file_hash for image in copies if image.facts is not None}) > 1
        places.append(Occurrence(tuple(image.path for image in copies), "equal pixels, other file" if differ else ""))
    other_files = sum(bool(place.detail) for place in places)
    differences = f"; the files of {other_files:,} differ in bytes though not in pixels" if other_files else ""
    files = counted(sum(len(place.paths) for place in places), "file")
    return findings(code, places, files=files, differences=differences, where=where)
