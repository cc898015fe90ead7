import json
import re

import pytest

from domain_masks.deploy import model_card
from domain_masks.records.model_card import ModelCard
from domain_masks.records.yaml_files import parse_yaml


def parts(text):
    _, front, body = text.split("---\n", 2)
    return parse_yaml(front, "card"), body


def test_a_card_says_what_the_run_measured(model, run_folder):
    front, body = parts(model.model_card("someone/sketches"))
    assert front == {
        "library_name": "domain-masks",
        "pipeline_tag": "image-classification",
        "tags": ["domain-masks", "domain-generalization", "image-classification", "dmg"],
        "metrics": ["accuracy"],
    }
    results = json.loads((run_folder / "results.json").read_text())
    for name, title in (
        ("out_of_domain", "out of domain"),
        ("in_domain", "in domain"),
        ("known_domain", "known domain"),
    ):
        (line,) = [line for line in body.splitlines() if line.startswith(f"| {title} (")]
        assert f"| {results[name]['split']} |" in line
        assert f"| {100 * results[name]['accuracy']:.2f} |" in line
        assert all(f"{domain} {100 * value:.2f}" in line for domain, value in results[name]["per_domain"].items())
    for site, numbers in results["masks"].items():
        assert f"| {site} | {numbers['overall_iou']:.3f} |" in body
    assert "| source domains | dots, plain |" in body
    assert "| held-out domains | stripes |" in body
    assert "Labels of held-out domains were not used" in body
    assert all(f"- `{ensemble}`: " in body for ensemble in model.ensembles)
    assert 'dm.load("someone/sketches")' in body
    assert "# sketches" in body
    assert "license" not in json.dumps(front)


LEAST = {"classes": ["a", "b"], "sources": ["x"], "backbone": "small", "image_size": 16, "boundary": "b", "sites": []}


def test_what_is_not_known_is_not_said():
    front, body = parts(model_card(ModelCard(**LEAST, method={"name": "aggregate"}), ["predictions"]))
    assert "metrics" not in front
    for title in ("Accuracy", "Overlap of the masks"):
        assert f"## {title}" not in body
    assert "None" not in body
    assert "No domain was held out" in body
    assert "2 classes" in body
    assert "1 source domain " in body


@pytest.mark.parametrize(
    "name",
    ["a | b", "<script>alert(1)</script>", "[link](http://x)", "`code`", "# title", "two\nlines", "*bold*", "$x$"],
)
def test_names_stay_text(name):
    names = {"classes": [name, "b"], "sources": [name], "dataset": name, "targets": [name]}
    _, body = parts(
        model_card(ModelCard(**{**LEAST, **names}, method={"name": "dmg"}), ["predictions", f"known:{name}"])
    )
    rows = [line for line in body.splitlines() if line.startswith("| classes |")]
    assert len(rows) == 1
    assert len(rows[0].replace("\\|", "").split("|")) == 4
    # What stands between backticks is text already.
    outside = re.sub(r"`[^`\n]*`", "", body.partition("## Usage")[0])
    assert "<script>" not in outside.replace("\\<", "")
    assert not re.search(r"(?<!\\)\]\(", outside)
    assert not [line for line in body.splitlines() if line.startswith("# title")]


def test_long_lists_are_counted():
    classes = [f"class {number}" for number in range(345)]
    _, body = parts(model_card(ModelCard(**{**LEAST, "classes": classes}, method={"name": "dmg"}), ["predictions"]))
    assert "... (295 more)" in body
    assert "class 344" not in body
