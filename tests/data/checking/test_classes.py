"""Names and numbers of classes and domains, as tables."""

from __future__ import annotations

import json
import os
import unicodedata

import pytest

from check_rows import codes, image, only, report_of
from domain_masks.data.checking.classes import class_findings
from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.checking.occurrences import Occurrence
from trees_of_images import clean


@pytest.fixture
def tree(tmp_path):
    return clean(tmp_path / "animals")


def table(**counts):
    """Rows of `domain__class=count`."""
    rows = []
    for name, count in counts.items():
        domain, class_name = name.split("__")
        rows += [image(f"{domain}/{class_name}/{number}.png") for number in range(count)]
    return rows


COUNTS = {
    "good": ({"a__x": 10, "a__y": 10, "b__x": 10, "b__y": 10, "c__x": 10, "c__y": 10}, {}),
    "one domain": ({"a__x": 10, "a__y": 10}, {"single-domain": "error"}),
    "two domains": ({"a__x": 10, "a__y": 10, "b__x": 10, "b__y": 10}, {"two-domains": "warning"}),
    "one class": ({"a__x": 10, "b__x": 10, "c__x": 10}, {"single-class": "error"}),
    "missing": ({"a__x": 10, "a__y": 10, "b__x": 10, "b__y": 10, "c__x": 10}, {"class-missing-in-domain": "warning"}),
    "in one": ({"a__x": 10, "a__y": 10, "b__x": 10, "c__x": 10}, {"class-in-one-domain": "warning"}),
    "few": (
        {"a__x": 1, "a__y": 10, "b__x": 2, "b__y": 9, "c__x": 10, "c__y": 10},
        {"single-image": "warning", "few-images": "warning"},
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    counts, expected = COUNTS[name]
    assert codes(class_findings(table(**counts))) == expected


def test_a_class_of_one_domain_that_is_nearly_another_is_said_to_be_it():
    rows = table(a__giraffe=10, a__dog=10, b__giraffe=10, b__dog=10, c__girafe=10, c__dog=10)
    found = only(class_findings(rows), "class-in-one-domain")
    assert found.occurrences == (Occurrence(("girafe",), "only in c, 10; perhaps it is 'giraffe'"),)


@pytest.mark.parametrize(
    "other",
    ["Traffic Light", "traffic_light", "traffic-light", "TRAFFIC LIGHT ", "trafficlight"],
)
def test_names_that_differ_in_case_and_blanks(other):
    rows = [
        image(f"{domain}/{name}/{n}.png") for domain in "abc" for name in ("traffic light", other) for n in range(10)
    ]
    found = only(class_findings(rows), "similar-classes")
    assert found.severity == "error"
    assert sorted(found.occurrences[0].paths) == sorted((repr("traffic light"), repr(other)))
    domains = [image(f"{name}/x/{n}.png") for name in ("traffic light", other) for n in range(10)]
    assert "similar-domains" in codes(class_findings(domains))


def test_names_in_different_unicode_forms_are_told_apart_in_print():
    names = [unicodedata.normalize(form, "Bär") for form in ("NFC", "NFD")]
    rows = [image(f"{domain}/{name}/{n}.png") for domain in "abc" for name in names for n in range(10)]
    shown = only(class_findings(rows), "similar-classes").occurrences[0].paths
    assert set(shown) == {"'Ba\\u0308r'", "'B\\xe4r'"}


def test_names_that_are_no_utf8_are_found_and_can_be_printed(tree):
    raw = os.fsencode(tree / "art" / "dog") + b"/\xff.png"
    with open(raw, "wb") as file:  # noqa: PTH123 - a name in bytes
        file.write((tree / "art" / "dog" / "0.png").read_bytes())
    report = report_of(tree)
    assert codes(report.findings) == {"odd-name": "error", "repeated": "warning"}
    assert "\\udcff.png" in report.text().encode("utf-8").decode()
    assert "\\udcff.png" in report.to_csv()
    json.dumps(report.to_dict(), ensure_ascii=False).encode()


def test_groups_that_differ_in_case_or_quotes_are_found_those_of_other_codes_are_not():
    rows = [
        CheckedImage(f"{domain}/x/{n}.png", domain, "x", "", group)
        for domain in "ab"
        for n, group in enumerate(["p-1-2", "p-12", "P-12 ", "'p-12'"])
    ]
    found = only(class_findings(rows), "similar-groups")
    assert [set(place.paths) for place in found.occurrences] == [{repr("p-12"), repr("P-12 "), repr("'p-12'")}]


@pytest.mark.parametrize(
    ("name", "severity"),
    [("NaN", "error"), (" null", "error"), ("N/A", "error"), ("None", "warning"), ("na", "warning")],
)
def test_what_programs_write_for_no_value_is_found_as_a_name(name, severity):
    rows = [
        CheckedImage(f"{place}{label}{n}", place, label)
        for place in "abc"
        for label in ("dog", name)
        for n in range(10)
    ]
    found = only(class_findings(rows), "no-name")
    assert found.severity == severity
    assert found.occurrences == (Occurrence((repr(name),), "class, 30 images"),)
    domains = [CheckedImage(f"{place}{n}", place, "dog") for place in ("a", name) for n in range(10)]
    assert only(class_findings(domains), "no-name").occurrences[0].detail == "domain, 10 images"
