"""What is wrong with the pictures themselves, one by one."""

from __future__ import annotations

from collections.abc import Sequence

from domain_masks.data.checking.findings import Example, Finding, counted
from domain_masks.data.checking.index import Picture
from domain_masks.data.decoding import PictureFacts, ProblemKind

_SMALL = 32
_TRAINING = "Training refuses them, or leaves them out with --skip_bad."
_KINDS: dict[ProblemKind, tuple[str, str]] = {
    "unopened": ("that cannot be opened", "Restore the files or give permission to read them, or remove them."),
    "empty": ("whose file is empty", "Fetch them again or remove them."),
    "not-a-picture": ("by name, but not by content", "Replace or remove them."),
    "truncated": ("cut off before the end", "Fetch them again or remove them: a download or a copy has broken off."),
    "too-large": ("with too many pixels to be opened safely", "Make them smaller, or remove them."),
    "broken": ("that cannot be decoded", "Replace or remove them, or save them anew with another program."),
}


def content_findings(pictures: Sequence[Picture]) -> list[Finding]:
    """Return what decoding has brought to light: unreadable, animated and very small pictures."""
    found = []
    for kind, (what, advice) in _KINDS.items():
        bad = [
            Example((picture.path,), picture.problem.reason)
            for picture in pictures
            if picture.problem is not None and picture.problem.kind == kind
        ]
        if bad:
            found.append(
                Finding(kind, "error", f"{counted(len(bad), 'picture')} {what}", f"{advice} {_TRAINING}", tuple(bad))
            )
    seen = [(picture.path, picture.facts) for picture in pictures if picture.facts is not None]
    return found + _animated(seen) + _small(seen)


def _animated(seen: list[tuple[str, PictureFacts]]) -> list[Finding]:
    several = [Example((path,), counted(facts.frames, "frame")) for path, facts in seen if facts.frames > 1]
    if not several:
        return []
    what = f"{counted(len(several), 'picture')} with several frames or pages, of which only the first is used"
    return [
        Finding(
            "animated",
            "warning",
            what,
            "Save the frames that matter as pictures of their own, if the first is not enough.",
            tuple(several),
        )
    ]


def _small(seen: list[tuple[str, PictureFacts]]) -> list[Finding]:
    small = [
        Example((path,), f"{facts.width} x {facts.height}")
        for path, facts in seen
        if min(facts.width, facts.height) < _SMALL
    ]
    if not small:
        return []
    what = f"{counted(len(small), 'picture')} with a side of less than {_SMALL} pixels"
    return [
        Finding(
            "small",
            "warning",
            what,
            "Look at them: they may be thumbnails or placeholders. If all are meant to be small, train with a small --size.",
            tuple(small),
        )
    ]
