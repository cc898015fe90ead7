"""What is wrong with the classes and domains: names, and how many images there are of each."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence

from domain_masks.data.checking.findings import Example, Finding, Severity, counted
from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.names import may_stand_for_nothing, spellings, stands_for_nothing

_FEW = 10
_ALIKE = 0.8


def class_findings(images: Sequence[CheckedImage]) -> list[Finding]:
    """Return what is wrong with names and numbers of classes and domains."""
    placed = [image for image in images if image.placed]
    if not placed:
        return []
    counts = Counter((image.domain, image.class_name) for image in placed)
    domains = sorted({domain for domain, _ in counts})
    classes = sorted({class_name for _, class_name in counts})
    return [
        *_too_few_names(domains, classes),
        *_similar("class", "classes", classes),
        *_similar("domain", "domains", domains),
        *_similar("group", "groups", sorted({image.group for image in placed if image.group}), strict=True),
        *_no_names(placed),
        *_missing(counts, domains, classes),
        *_few_images(counts),
        *_odd_names(placed),
    ]


def _too_few_names(domains: list[str], classes: list[str]) -> list[Finding]:
    found = []
    if len(domains) < 2:
        found.append(
            Finding(
                "single-domain",
                "error",
                f"only one domain, {domains[0]!r}: none can be held out",
                "Add images of other domains: masks need two to train on, and one more to hold out. On one alone "
                "--target none trains what needs no more, such as --method aggregate, and measures it in domain.",
            )
        )
    elif len(domains) == 2:
        found.append(
            Finding(
                "two-domains",
                "warning",
                f"only two domains, {domains[0]!r} and {domains[1]!r}: with one held out, one is left, and masks need two",
                "Add images of another domain, train on one with what needs no more (--method aggregate), or on "
                "both with --target none.",
            )
        )
    if len(classes) < 2:
        found.append(
            Finding(
                "single-class",
                "error",
                f"only one class, {classes[0]!r}",
                "Add images of other classes: there is nothing to tell apart.",
            )
        )
    return found


def _similar(kind: str, plural: str, names: Iterable[str], strict: bool = False) -> list[Finding]:
    several = spellings(names, strict)
    if not several:
        return []
    differs = "quotes, blanks, case" if strict else "quotes, case, blanks, underscores, hyphens"
    return [
        Finding(
            f"similar-{plural}",
            "error",
            f"{counted(len(several), f'{kind} name')} written in several ways, which count as different {plural}: they "
            f"differ in {differs} or Unicode form alone",
            f"Rename them to one spelling, if they are the same {kind}.",
            tuple(
                Example(tuple(f"{name!a}" if not name.isascii() else repr(name) for name in same)) for same in several
            ),
        )
    ]


def _no_names(images: Sequence[CheckedImage]) -> list[Finding]:
    """Find what programs write where there is no value, as the name of a class, a domain or a group."""
    counts: Counter[tuple[str, str]] = Counter()
    for image in images:
        counts["class", image.class_name] += 1
        counts["domain", image.domain] += 1
        if image.group:
            counts["group", image.group] += 1
    found = []
    severity: Severity
    for severity, test, what in (
        ("error", stands_for_nothing, "that programs write where there is none"),
        ("warning", may_stand_for_nothing, "that may be meant as no name"),
    ):
        odd = [
            Example((repr(name),), f"{kind}, {counted(count, 'image')}")
            for (kind, name), count in sorted(counts.items())
            if test(name)
        ]
        if odd:
            found.append(
                Finding(
                    "no-name",
                    severity,
                    f"{counted(len(odd), 'name')} {what}",
                    "Give the images their class, domain or group, or leave them out.",
                    tuple(odd),
                )
            )
    return found


def _missing(counts: Counter[tuple[str, str]], domains: list[str], classes: list[str]) -> list[Finding]:
    found = []
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
            lone.append(Example((class_name,), f"only in {home}, {counts[home, class_name]:,}{guess}"))
        else:
            partial.append(Example((class_name,), f"not in {', '.join(lacking)}"))
    if lone:
        verb = "is" if len(lone) == 1 else "are"
        found.append(
            Finding(
                "class-in-one-domain",
                "warning",
                f"{counted(len(lone), 'class', 'classes')} that {verb} in one domain only",
                "Add images of the other domains or remove the class: with its domain held out it cannot be learned, and "
                "otherwise it gives the domain away.",
                tuple(lone),
            )
        )
    if partial:
        found.append(
            Finding(
                "class-missing-in-domain",
                "warning",
                f"{counted(len(partial), 'class', 'classes')} without images in some domains",
                "Add images, or keep in mind that accuracies of those domains are about fewer classes.",
                tuple(partial),
            )
        )
    return found


def _few_images(counts: Counter[tuple[str, str]]) -> list[Finding]:
    found = []
    single = [Example((f"{domain}/{name}",)) for (domain, name), count in sorted(counts.items()) if count == 1]
    few = [
        Example((f"{domain}/{name}",), counted(count, "image"))
        for (domain, name), count in sorted(counts.items())
        if 1 < count < _FEW
    ]
    if single:
        found.append(
            Finding(
                "single-image",
                "warning",
                f"{counted(len(single), 'class', 'classes')} with a single image in a domain, which cannot be divided "
                "into training, validation and test",
                "Add images, or remove the class from that domain.",
                tuple(single),
            )
        )
    if few:
        found.append(
            Finding(
                "few-images",
                "warning",
                f"{counted(len(few), 'class', 'classes')} with fewer than {_FEW} images in a domain: not each of training, "
                "validation and test will get one",
                "Add images, or do not rely on the in-domain accuracies of these classes.",
                tuple(few),
            )
        )
    return found


def _odd_names(images: Sequence[CheckedImage]) -> list[Finding]:
    odd = [image.path for image in images if any("\ud800" <= letter <= "\udfff" for letter in image.path)]
    if not odd:
        return []
    return [
        Finding(
            "odd-name",
            "error",
            f"{counted(len(odd), 'path')} with a name that is no UTF-8",
            "Rename the files or folders: names of classes and domains are refused, those of images are kept as bytes.",
            tuple(Example((path,)) for path in odd),
        )
    ]
