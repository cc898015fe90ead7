"""What is wrong with the classes and domains: names, and how many pictures there are of each."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from domain_masks.data.checking.findings import Example, Finding, counted
from domain_masks.data.checking.index import Picture

_FEW = 10
_ALIKE = 0.8


def class_findings(pictures: Sequence[Picture]) -> list[Finding]:
    """Return what is wrong with names and numbers of classes and domains."""
    placed = [picture for picture in pictures if picture.placed]
    if not placed:
        return []
    counts = Counter((picture.domain, picture.class_name) for picture in placed)
    domains = sorted({domain for domain, _ in counts})
    classes = sorted({class_name for _, class_name in counts})
    return [
        *_too_few_names(domains, classes),
        *_similar("class", "classes", classes),
        *_similar("domain", "domains", domains),
        *_missing(counts, domains, classes),
        *_few_pictures(counts),
        *_odd_names(placed),
    ]


def _too_few_names(domains: list[str], classes: list[str]) -> list[Finding]:
    found = []
    if len(domains) < 2:
        found.append(
            Finding(
                "single-domain",
                "error",
                f"only one domain, {domains[0]!r}",
                "Add pictures of other domains: at least two are needed to train on, and one more to hold out.",
            )
        )
    elif len(domains) == 2:
        found.append(
            Finding(
                "two-domains",
                "warning",
                f"only two domains, {domains[0]!r} and {domains[1]!r}: with one held out, one is left, and masks need two",
                "Add pictures of another domain, or train on both with --target none.",
            )
        )
    if len(classes) < 2:
        found.append(
            Finding(
                "single-class",
                "error",
                f"only one class, {classes[0]!r}",
                "Add pictures of other classes: there is nothing to tell apart.",
            )
        )
    return found


def folded(name: str) -> str:
    """Return what is left of a name without case, blanks, underscores, hyphens and forms of the same letter."""
    return re.sub(r"[\s_\-.]+", "", unicodedata.normalize("NFKC", name).casefold())


def _similar(kind: str, plural: str, names: Iterable[str]) -> list[Finding]:
    alike = defaultdict(list)
    for name in names:
        alike[folded(name)].append(name)
    several = [tuple(same) for same in alike.values() if len(same) > 1]
    if not several:
        return []
    return [
        Finding(
            f"similar-{plural}",
            "error",
            f"{counted(len(several), f'{kind} name')} written in several ways, which count as different {plural}: they "
            "differ in case, blanks, underscores, hyphens or Unicode form alone",
            f"Rename them to one spelling, if they are the same {kind}.",
            tuple(
                Example(tuple(f"{name!a}" if not name.isascii() else repr(name) for name in same)) for same in several
            ),
        )
    ]


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
                "Add pictures of the other domains or remove the class: with its domain held out it cannot be learned, and "
                "otherwise it gives the domain away.",
                tuple(lone),
            )
        )
    if partial:
        found.append(
            Finding(
                "class-missing-in-domain",
                "warning",
                f"{counted(len(partial), 'class', 'classes')} without pictures in some domains",
                "Add pictures, or keep in mind that accuracies of those domains are about fewer classes.",
                tuple(partial),
            )
        )
    return found


def _few_pictures(counts: Counter[tuple[str, str]]) -> list[Finding]:
    found = []
    single = [Example((f"{domain}/{name}",)) for (domain, name), count in sorted(counts.items()) if count == 1]
    few = [
        Example((f"{domain}/{name}",), counted(count, "picture"))
        for (domain, name), count in sorted(counts.items())
        if 1 < count < _FEW
    ]
    if single:
        found.append(
            Finding(
                "single-picture",
                "warning",
                f"{counted(len(single), 'class', 'classes')} with a single picture in a domain, which cannot be divided "
                "into training, validation and test",
                "Add pictures, or remove the class from that domain.",
                tuple(single),
            )
        )
    if few:
        found.append(
            Finding(
                "few-pictures",
                "warning",
                f"{counted(len(few), 'class', 'classes')} with fewer than {_FEW} pictures in a domain: not each of training, "
                "validation and test will get one",
                "Add pictures, or do not rely on the in-domain accuracies of these classes.",
                tuple(few),
            )
        )
    return found


def _odd_names(pictures: Sequence[Picture]) -> list[Finding]:
    odd = [picture.path for picture in pictures if any("\ud800" <= letter <= "\udfff" for letter in picture.path)]
    if not odd:
        return []
    return [
        Finding(
            "odd-name",
            "error",
            f"{counted(len(odd), 'path')} with a name that is no UTF-8, which cannot be written into results",
            "Rename the files or folders.",
            tuple(Example((path,)) for path in odd),
        )
    ]
