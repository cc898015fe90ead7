"""What decoding brings to light."""

from __future__ import annotations

import pytest

from check_rows import image, only, paths
from domain_masks.data.checking.image_quality import image_findings
from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.checking.occurrences import Occurrence
from domain_masks.data.decoding import Problem


@pytest.mark.parametrize("kind", ["unopened", "empty", "not-an-image", "truncated", "too-large", "broken"])
def test_every_kind_of_problem_is_an_error_of_its_own(kind):
    rows = [image("a/x/1.png"), CheckedImage("a/x/2.png", "a", "x", problem=Problem(kind, "so it is"))]
    (found,) = image_findings(rows)
    assert (found.code, found.severity) == (kind, "error")
    assert found.occurrences == (Occurrence(("a/x/2.png",), "so it is"),)
    assert found.what.startswith("1 image ")


def test_sides_and_frames():
    rows = [
        image("a/x/1.png", width=32, height=32),
        image("a/x/2.png", width=31, height=400),
        image("a/x/3.gif", frames=2),
    ]
    findings = image_findings(rows)
    assert paths(only(findings, "small")) == [("a/x/2.png",)]
    assert only(findings, "animated").occurrences == (Occurrence(("a/x/3.gif",), "2 frames"),)
