"""Checks of classes and domains: their names, and their numbers of images."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence

from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.checking.occurrences import Finding, Occurrence, finding, findings
from domain_masks.data.checking.rules import FEW
from domain_masks.data.similar_names import may_stand_for_nothing, spellings, stands_for_nothing
from domain_masks.records.counts import counted
from domain_masks.records.files import is_utf8

_ALIKE = 0.8


def class_findings(images: Sequence[CheckedImage]) -> list[Finding]:
    """Return the findings about names and numbers of classes and domains."""
    placed = [image for image in images if image.placed]
    if not placed:
        return []
    counts = Counter((image.domain, image.class_name) for image in placed)
    domains = sorted({domain for domain, _ in counts})
    classes = sorted({class_name for _, class_name in counts})
    cells = [(f"{domain}/{name}", count) for (domain, name), count in sorted(counts.items())]
    few = (Occurrence((cell,), counted(count, "image")) for cell, count in cells if 1 < count < FEW)
    return [
        *_too_few_names(domains, classes),
        *_similar("classes", classes),
        *_similar("domains", domains),
        *_similar("groups", sorted({image.group for image in placed if image.group}), strict=True),
        *_no_names(placed),
        *_missing(counts, domains, classes),
        *findings("single-image", (cell for cell, count in cells if count == 1)),
        *findings("few-images", few),
        *findings("odd-name", (image.path for image in placed if not is_utf8(image.path))),
    ]


def _too_few_names(domains: list[str], classes: list[str]) -> list[Finding]:
    named = {1: "single-domain", 2: "two-domains"}
    few_domains = (
        [finding(named[len(domains)], names=" and ".join(map(repr, domains)))] if len(domains) in named else []
    )
    return few_domains + ([finding("single-class", names=repr(classes[0]))] if len(classes) == 1 else [])


def _similar(plural: str, names: Iterable[str], strict: bool = False) -> list[Finding]:
    several = spellings(names, strict)
    shown = (tuple(f"{name!a}" if not name.isascii() else repr(name) for name in same) for same in several)
    return findings(f"similar-{plural}", map(Occurrence, shown))


def _no_names(images: Sequence[CheckedImage]) -> list[Finding]:
    """Return findings about names of classes, domains and groups that stand for a missing value."""
    counts: Counter[tuple[str, str]] = Counter()
    for image in images:
        counts.update([("class", image.class_name), ("domain", image.domain)])
        if image.group:
            counts["group", image.group] += 1
    named = {
        (kind, name): Occurrence((repr(name),), f"{kind}, {counted(count, 'image')}")
        for (kind, name), count in sorted(counts.items())
    }
    certain = [place for (_, name), place in named.items() if stands_for_nothing(name)]
    doubtful = [place for (_, name), place in named.items() if may_stand_for_nothing(name)]
    return [
        *findings("no-name", certain, doubt="that programs write for a missing value"),
        *findings("no-name", doubtful, "warning", doubt="that may stand for a missing value"),
    ]


def _missing(counts: Counter[tuple[str, str]], domains: list[str], classes: list[str]) -> list[Finding]:
    lone, partial = [], []
    for class_name in classes:
        lacking = [domain for domain in domains if not counts[domain, class_name]]
        if not lacking:
            continue
        if len(domains) - len(lacking) == 1:
            (home,) = set(domains) - set(lacking)
            others = [name for name in classes if name != class_name and not counts[home, name]]
            near = difflib.get_close_matches(class_name.lower(), [name.lower() for name in others], 1, _ALIKE)
            guess = f"; perhaps it is {next(name for name in others if name.lower() == near[0])!r}" if near else ""
            lone.append(Occurrence((class_name,), f"only in {home}, {counts[home, class_name]:,}{guess}"))
        else:
            partial.append(Occurrence((class_name,), f"not in {', '.join(lacking)}"))
    return findings("class-in-one-domain", lone) + findings("class-missing-in-domain", partial)
