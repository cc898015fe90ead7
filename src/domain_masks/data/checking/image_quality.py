"""Checks of single images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.checking.occurrences import Finding, Occurrence, findings
from domain_masks.data.checking.rules import SMALL
from domain_masks.data.decoding import Depth, ImageFacts, ProblemKind
from domain_masks.data.image_modes import range_holding
from domain_masks.records.counts import counted


def image_findings(images: Sequence[CheckedImage]) -> list[Finding]:
    """Return the findings of decoding: unreadable, animated and very small images, and deep images of a narrow range."""
    bad = [(image.problem.kind, Occurrence((image.path,), image.problem.reason)) for image in images if image.problem]
    seen = [(image.path, image.facts) for image in images if image.facts is not None]
    animated = (Occurrence((path,), counted(facts.frames, "frame")) for path, facts in seen if facts.frames > 1)
    small = (
        Occurrence((path,), f"{facts.width} x {facts.height}")
        for path, facts in seen
        if min(facts.width, facts.height) < SMALL
    )
    return [
        *(
            problem
            for kind in get_args(ProblemKind)
            for problem in findings(kind, (place for own, place in bad if own == kind))
        ),
        *findings("animated", animated),
        *findings("small", small),
        *_shallow(seen),
    ]


def _shallow(seen: list[tuple[str, ImageFacts]]) -> list[Finding]:
    """Return a finding about deep images whose values fill little of their assumed range."""
    deep = [(path, facts.depth) for path, facts in seen if facts.depth is not None]
    if not deep:
        return []
    lowest, largest = min(depth.lowest for _, depth in deep), max(depth.largest for _, depth in deep)
    low, high = range_holding(lowest, largest)
    odd = [(path, depth) for path, depth in deep if depth.lowest < 0 or not high / 2 <= depth.white <= high * 2]
    if not odd or largest == lowest:
        return []
    places = (
        Occurrence((path,), f"{depth.lowest:.6g} to {depth.largest:.6g}, white at {depth.white:.6g}")
        for path, depth in odd
    )
    advice = _depth_advice(lowest, (low, high), odd)
    return findings("depth", places, range=f"{lowest:.6g} to {largest:.6g}", advice=advice)


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
