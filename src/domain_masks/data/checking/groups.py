"""What is wrong with groups: the images of a patient or a camera, which are never divided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from domain_masks.data.checking.findings import Example, Finding, Severity, counted
from domain_masks.data.checking.index import CheckedImage


def group_findings(images: Sequence[CheckedImage]) -> list[Finding]:
    """Return groups that splits divide, groups of several domains, and domains with too few groups to be divided."""
    grouped = [image for image in images if image.group and image.placed]
    splits: defaultdict[str, set[str]] = defaultdict(set)
    domains: defaultdict[str, set[str]] = defaultdict(set)
    for image in grouped:
        splits[image.group].add(image.split)
        domains[image.group].add(image.domain)
    given = {image.split for image in grouped}
    found = []
    divided = [Example((name,), ", ".join(sorted(names))) for name, names in splits.items() if len(names) > 1]
    if divided:
        what = f"{counted(len(divided), 'group')} divided between splits, which what is measured leaks through"
        found.append(
            Finding("group-divided", "error", what, "Give all images of a group the same split.", tuple(divided))
        )
    across = [Example((name,), ", ".join(sorted(names))) for name, names in domains.items() if len(names) > 1]
    # With an official test part, what is held out shares no undivided group with what is trained on.
    if across and "test" not in given:
        what = f"{counted(len(across), 'group')} in several domains, of which none can be held out without the others"
        advice = "Hold these domains out together, or leave the group's images out of all but one of them."
        found.append(Finding("group-across-domains", "warning", what, advice, tuple(across)))
    return found + _too_few(grouped, given)


def _too_few(grouped: Sequence[CheckedImage], splits: set[str]) -> list[Finding]:
    """Count groups as dividing does: for three parts, or for two if only validation is drawn out of training."""
    if "val" in splits:
        return []
    official = bool(splits - {""})
    wanted, parts = (2, "training and validation") if official else (3, "training, validation and test")
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for image in grouped:
        if not official or image.split == "train":
            groups[image.domain].add(image.group)
    few = [Example((name,), counted(len(names), "group")) for name, names in groups.items() if len(names) < wanted]
    if not few:
        return []
    # One such domain can still be held out.
    severity: Severity = "error" if len(few) > 1 else "warning"
    what = f"{counted(len(few), 'domain')} with fewer than {wanted} groups, which training refuses as a source"
    advice = f"Add groups, one each for {parts} at least, or hold the domain out."
    return [Finding("few-groups", severity, what, advice, tuple(few))]
