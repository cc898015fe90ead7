"""Checks of groups: the images of a patient or a camera, which are never divided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.checking.occurrences import Finding, Occurrence, findings
from domain_masks.records.counts import counted


def group_findings(images: Sequence[CheckedImage]) -> list[Finding]:
    """Return findings about groups in several splits, groups in several domains, and domains with too few groups."""
    grouped = [image for image in images if image.group and image.placed]
    splits: defaultdict[str, set[str]] = defaultdict(set)
    domains: defaultdict[str, set[str]] = defaultdict(set)
    for image in grouped:
        splits[image.group].add(image.split)
        domains[image.group].add(image.domain)
    used_splits = {image.split for image in grouped}
    return [
        *findings("group-divided", _in_several(splits)),
        # With an official test split, held-out images share no undivided group with training images.
        *findings("group-across-domains", () if "test" in used_splits else _in_several(domains)),
        *_too_few(grouped, used_splits),
    ]


def _in_several(places: Mapping[str, set[str]]) -> Iterator[Occurrence]:
    return (Occurrence((name,), ", ".join(sorted(names))) for name, names in places.items() if len(names) > 1)


def _too_few(grouped: Sequence[CheckedImage], splits: set[str]) -> list[Finding]:
    """Count groups as :func:`divide_groups` does: for three parts, or for two if only validation is drawn from training."""
    if "val" in splits:
        return []
    official = bool(splits - {""})
    wanted, parts = (2, "training and validation") if official else (3, "training, validation and test")
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for image in grouped:
        if not official or image.split == "train":
            groups[image.domain].add(image.group)
    few = [Occurrence((name,), counted(len(names), "group")) for name, names in groups.items() if len(names) < wanted]
    # One such domain can still be held out.
    return findings("few-groups", few, "error" if len(few) > 1 else "warning", wanted=wanted, parts=parts)
