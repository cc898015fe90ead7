"""HTML for notebooks: whatever a dataset, a class or a file is called, nothing of it is HTML."""

from __future__ import annotations

import pytest

from domain_masks.records.notebook_html import Html, html_block, html_image, html_lines, html_table, percent
from domain_masks.records.results import Accuracies, Note, Results, SelectionProtocol, SiteMasks

EVIL = "<script>alert('x')</script>&\""
ESCAPED = "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&amp;&quot;"


def test_every_text_is_escaped() -> None:
    page = html_block(EVIL, html_table([EVIL], [[EVIL], [None], [Html("<b>bold</b>")]]), html_lines([EVIL]))
    page += html_image(b"content", "png", EVIL)
    assert "<script" not in page
    assert page.count(ESCAPED) == 5
    assert "<td><b>bold</b></td>" in page
    assert "<td></td>" in page


def test_a_long_table_says_how_many_rows_are_left_out() -> None:
    assert "23 more rows" in html_table(["n"], [[number] for number in range(25)], most=2)
    assert html_table(["n"], []) == ""
    assert (percent(None), percent(0.12345)) == ("", "12.35")


@pytest.fixture
def results() -> Results:
    accuracies = Accuracies(split=EVIL, accuracy=0.5, per_domain={EVIL: 0.5}, by_ensemble={f"known:{EVIL}": 0.25})
    return Results(
        dataset=EVIL,
        method="dmg",
        backbone=EVIL,
        sources=["a", EVIL],
        targets=[EVIL],
        seed=0,
        epochs_run=1,
        protocol=SelectionProtocol(selection="source-validation", target_labels_used=False),
        out_of_domain=accuracies,
        masks={EVIL: SiteMasks(overall_iou=0.5, pairwise_iou={}, activated={"a": 0.1, EVIL: 0.2})},
        notes=[Note(about="x", text=EVIL)],
        seconds={},
    )


def test_results_are_a_table_and_one_line(results: Results) -> None:
    page = results._repr_html_()
    assert "<script" not in page
    assert page.count(ESCAPED) >= 8
    for cell in ("50.00", "25.00", "0.500", "10.00", "20.00"):
        assert cell in page
    assert repr(results) == f"Results(dmg on {EVIL}, held out {EVIL}, seed 0: 50.00 % out of domain)"
