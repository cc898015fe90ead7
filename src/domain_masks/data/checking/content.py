"""What is wrong with the images themselves, one by one."""

from __future__ import annotations

from collections.abc import Sequence

from domain_masks.data.checking.findings import Example, Finding, counted
from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.decoding import Depth, ImageFacts, ProblemKind
from domain_masks.data.preprocessing import range_holding

_SMALL = 32
_TRAINING = "Training refuses them, or leaves them out with --skip_bad."
_KINDS: dict[ProblemKind, tuple[str, str]] = {
    "unopened": ("that cannot be opened", "Restore the files or give permission to read them, or remove them."),
    "empty": ("whose file is empty", "Fetch them again or remove them."),
    "not-a-image": ("by name, but not by content", "Replace or remove them."),
    "truncated": ("cut off before the end", "Fetch them again or remove them: a download or a copy has broken off."),
    "too-large": ("with too many pixels to be opened safely", "Make them smaller, or remove them."),
    "broken": ("that cannot be decoded", "Replace or remove them, or save them anew with another program."),
}


def content_findings(images: Sequence[CheckedImage]) -> list[Finding]:
    """Return what decoding has brought to light: unreadable, animated and very small images."""
    found = []
    for kind, (what, advice) in _KINDS.items():
        bad = [
            Example((image.path,), image.problem.reason)
            for image in images
            if image.problem is not None and image.problem.kind == kind
        ]
        if bad:
            found.append(
                Finding(kind, "error", f"{counted(len(bad), 'image')} {what}", f"{advice} {_TRAINING}", tuple(bad))
            )
    seen = [(image.path, image.facts) for image in images if image.facts is not None]
    return found + _animated(seen) + _small(seen) + _shallow(seen)


def _animated(seen: list[tuple[str, ImageFacts]]) -> list[Finding]:
    several = [Example((path,), counted(facts.frames, "frame")) for path, facts in seen if facts.frames > 1]
    if not several:
        return []
    what = f"{counted(len(several), 'image')} with several frames or pages, of which only the first is used"
    return [
        Finding(
            "animated",
            "warning",
            what,
            "Save the frames that matter as images of their own, if the first is not enough.",
            tuple(several),
        )
    ]


def _small(seen: list[tuple[str, ImageFacts]]) -> list[Finding]:
    small = [
        Example((path,), f"{facts.width} x {facts.height}")
        for path, facts in seen
        if min(facts.width, facts.height) < _SMALL
    ]
    if not small:
        return []
    what = f"{counted(len(small), 'image')} with a side of less than {_SMALL} pixels"
    return [
        Finding(
            "small",
            "warning",
            what,
            "Look at them: they may be thumbnails or placeholders. If all are meant to be small, train with a small --size.",
            tuple(small),
        )
    ]


def _shallow(seen: list[tuple[str, ImageFacts]]) -> list[Finding]:
    """Return what there is to say of deep images whose values fill little of what is taken for their range."""
    deep = [(path, facts.depth) for path, facts in seen if facts.depth is not None]
    if not deep:
        return []
    lowest, largest = min(depth.lowest for _, depth in deep), max(depth.largest for _, depth in deep)
    low, high = range_holding(lowest, largest)
    odd = [(path, depth) for path, depth in deep if depth.lowest < 0 or not high / 2 <= depth.white <= high * 2]
    if not odd or largest == lowest:
        return []
    examples = tuple(
        Example((path,), f"{depth.lowest:.6g} to {depth.largest:.6g}, white at {depth.white:.6g}")
        for path, depth in odd
    )
    what = (
        f"{counted(len(odd), 'image')} deeper than 8 bits whose range is not what their values fill: all deep images hold "
        f"{lowest:.6g} to {largest:.6g}"
    )
    return [Finding("depth", "warning", what, _depth_advice(lowest, (low, high), odd), examples)]


def _depth_advice(lowest: float, own: tuple[float, float], odd: list[tuple[str, Depth]]) -> str:
    whites = sorted({depth.white for _, depth in odd})
    if len(whites) > 1 or whites[0] < own[1]:
        seen = f"With white at {whites[0]:.6g} to {max(*whites, own[1]):.6g}, image by image, equal values would not look equal"
    else:
        levels = round(255 * own[1] / whites[0]) + 1
        seen = f"With white at {whites[0]:.6g} training would see {levels} of 256 levels"
    return (
        f"{seen}{', and everything below 0 as black' if lowest < 0 else ''}. "
        f"Scale by their own range: --value_range {own[0]:.10g},{own[1]:.10g}, or --value_range dataset."
    )
