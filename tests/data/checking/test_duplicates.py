"""The same image in several places."""

from __future__ import annotations

import pytest

from check_rows import codes, image, only
from domain_masks.data.checking.duplicates import duplicate_findings
from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.decoding import ImageFacts

DUPLICATES = {
    "none": ([("a/x/1.png", "p", ""), ("a/x/2.png", "q", "")], {}),
    "within": ([("a/x/1.png", "p", ""), ("a/x/2.png", "p", "")], {"repeated": "warning"}),
    "labels": ([("a/x/1.png", "p", ""), ("a/y/2.png", "p", "")], {"contradicting-labels": "error"}),
    "spellings": ([("a/x/1.png", "p", ""), ("a/X/2.png", "p", "")], {"repeated": "warning"}),
    "domains": ([("a/x/1.png", "p", ""), ("b/x/2.png", "p", "")], {"same-in-domains": "error"}),
    "domains, labels": (
        [("a/x/1.png", "p", ""), ("b/y/2.png", "p", "")],
        {"same-in-domains": "error", "contradicting-labels": "error"},
    ),
    "test": ([("a/x/1.png", "p", "train"), ("a/x/2.png", "p", "test")], {"leak-into-test": "error"}),
    "validation": ([("a/x/1.png", "p", "train"), ("a/x/2.png", "p", "val")], {"leak-into-validation": "warning"}),
    "chosen by": ([("a/x/1.png", "p", "val"), ("a/x/2.png", "p", "test")], {"leak-into-test": "error"}),
    "all three": (
        [("a/x/1.png", "p", "train"), ("a/x/2.png", "p", "val"), ("a/x/3.png", "p", "test")],
        {"leak-into-test": "error", "leak-into-validation": "warning"},
    ),
    "within a split": ([("a/x/1.png", "p", "val"), ("a/x/2.png", "p", "val")], {"repeated": "warning"}),
    # A copy in another domain is reported as such, whatever the splits.
    "domains, splits": ([("a/x/1.png", "p", "train"), ("b/x/2.png", "p", "test")], {"same-in-domains": "error"}),
}


@pytest.mark.parametrize("name", DUPLICATES)
def test_duplicates(name):
    rows, expected = DUPLICATES[name]
    findings = duplicate_findings([image(path, pixel_hash, "f", split) for path, pixel_hash, split in rows])
    assert codes(findings) == expected


def test_duplicates_are_counted_in_images_and_files_and_those_that_differ_in_bytes():
    rows = [image(f"a/x/{n}.png", "p", f"file {n}") for n in range(3)]
    rows += [image(f"a/x/{n}.png", "q", "same") for n in range(3, 5)]
    found = only(duplicate_findings(rows), "repeated")
    assert found.what.startswith("2 images (5 files) more than once")
    assert "the files of 1 differ in bytes" in found.what
    assert [(len(place.paths), bool(place.detail)) for place in found.occurrences] == [(3, True), (2, False)]


def test_images_without_a_place_and_rows_of_one_file_are_no_duplicates():
    seen = ImageFacts(64, 64, 1, "f", "p")
    rows = [CheckedImage("x/1.png", "", "", facts=seen), image("a/x/1.png", "p"), image("a/x/1.png", "p")]
    assert duplicate_findings(rows) == []
