"""Rows and findings of dataset checks, for their tests."""

from __future__ import annotations

from domain_masks.data.checking import check
from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.decoding import ImageFacts
from domain_masks.progress import ConsoleReporter

QUIET = ConsoleReporter(quiet=True)


def codes(findings):
    return {finding.code: finding.severity for finding in findings}


def only(findings, code):
    (found,) = [finding for finding in findings if finding.code == code]
    return found


def paths(finding):
    return [place.paths for place in finding.occurrences]


def report_of(name, root=None):
    return check(str(name), root, 0, QUIET)


def image(path, pixel_hash="", file_hash="", split="", **facts):
    """A row for the rules, its domain and class taken from its path."""
    domain, class_name, _ = path.split("/")
    values = {"width": 64, "height": 64, "frames": 1, **facts}
    seen = ImageFacts(**values, file_hash=file_hash or path, pixel_hash=pixel_hash or path)
    return CheckedImage(path, domain, class_name, split, facts=seen)
