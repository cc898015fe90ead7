from dataclasses import replace

import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.evaluation import accuracies, accuracies_under, summarize
from domain_masks.records import Results
from references import accuracy as slow
from references.predictions import DOMAINS, generated


def mean(values):
    return sum(values) / len(values)


def reference(predictions, logits):
    return slow.per_domain_accuracy(logits, predictions.labels, predictions.domains, predictions.domain_names)


def test_summary_of_a_split():
    chosen = generated().select(split="test")
    summary = summarize(generated(), "test", "test")
    expected = reference(chosen, chosen.of("predictions"))
    assert summary.split == "test"
    assert summary.count == len(chosen)
    assert summary.per_domain == pytest.approx(expected)
    assert summary.accuracy == pytest.approx(mean(expected.values()))
    assert summary.worst_domain == min(expected, key=expected.get)
    balanced = [
        slow.balanced_accuracy(part.of("predictions"), part.labels)
        for part in (chosen.select(domain=name) for name in ("art", "cartoon", "photo"))
    ]
    assert summary.balanced_accuracy == pytest.approx(mean(balanced))
    assert tuple(summary.by_ensemble) == chosen.ensembles
    for name, value in summary.by_ensemble.items():
        assert value == pytest.approx(mean(reference(chosen, chosen.of(name)).values()))


@pytest.mark.parametrize("worst", ["art", "cartoon", "photo"])
def test_the_worst_domain_is_the_one_with_the_lowest_accuracy(worst):
    predictions = generated(splits=("test",))
    right = np.eye(len(predictions.classes), dtype=np.float32)[predictions.labels]
    right[predictions.domains == DOMAINS.index(worst)] *= -1
    summary = summarize(replace(predictions, logits={"predictions": right}), "test", "test")
    assert summary.worst_domain == worst
    assert summary.per_domain[worst] == 0


def test_accuracies_under_another_ensemble_are_that_ensembles():
    predictions = generated()
    found = accuracies_under(predictions, "known:art", held_out_shown="all")
    assert set(found) == {"out_of_domain", "in_domain"}
    for measure, split in (("out_of_domain", "held_out"), ("in_domain", "test")):
        chosen = predictions.select(split=split)
        assert found[measure].per_domain == pytest.approx(reference(chosen, chosen.of("known:art")))
        assert found[measure].by_ensemble == {"known:art": found[measure].accuracy}
    assert found["out_of_domain"].split == "all"
    with pytest.raises(InputError, match="known:sketch"):
        accuracies_under(predictions, "known:sketch")


def test_split_is_shown_as_asked():
    assert summarize(generated(), "held_out", "all").split == "all"
    assert accuracies(generated(), held_out_shown="all")["out_of_domain"].split == "all"
    assert accuracies(generated())["out_of_domain"].split == "held_out"


def test_split_without_samples_or_name():
    with pytest.raises(InputError, match="got none"):
        summarize(generated(splits=("test",)), "held_out", "all")
    with pytest.raises(InputError, match="unknown split 'tests'"):
        summarize(generated(), "tests", "tests")


def test_all_accuracies():
    predictions = generated()
    found = accuracies(predictions)
    assert list(found) == ["out_of_domain", "in_domain", "known_domain"]
    assert set(found["out_of_domain"].per_domain) == {"sketch"}
    assert found["in_domain"] == summarize(predictions, "test", "test")
    chosen = predictions.select(split="test")
    expected = reference(chosen, slow.known_domain_logits(chosen.logits, chosen.domains, chosen.domain_names))
    assert found["known_domain"].per_domain == pytest.approx(expected)
    assert found["known_domain"].accuracy == pytest.approx(mean(expected.values()))
    assert found["known_domain"].split == "test"
    assert not found["known_domain"].by_ensemble


def test_validation_is_called_validation():
    found = accuracies(generated(splits=("validation", "held_out")))
    assert found["in_domain"].split == found["known_domain"].split == "validation"


@pytest.mark.parametrize(
    ("predictions", "keys"),
    [
        (generated(known=False), {"out_of_domain", "in_domain"}),
        (generated(splits=("validation", "test")), {"in_domain", "known_domain"}),
        (generated(splits=("held_out",)), {"out_of_domain"}),
        (generated(splits=("test",), known=False), {"in_domain"}),
    ],
)
def test_what_there_is_not_is_absent(predictions, keys):
    assert set(accuracies(predictions)) == keys


def test_known_domain_needs_all_sources():
    predictions = generated()
    without = {name: values for name, values in predictions.logits.items() if name != "known:art"}
    assert "known_domain" not in accuracies(replace(predictions, logits=without))


def test_target_samples_do_not_count_in_domain():
    predictions = generated()
    held_out = predictions.splits == "held_out"
    assert {DOMAINS[index] for index in predictions.domains[held_out]} == {"sketch"}
    marked = replace(predictions, splits=np.where(held_out, "validation", predictions.splits))
    assert set(accuracies(marked)) == {"in_domain", "known_domain"}
    only_validation = marked.rows(marked.splits == "validation")
    assert set(accuracies(only_validation)["in_domain"].per_domain) == {"art", "cartoon", "photo"}


def test_results_accept_it():
    results = Results(
        dataset="generated",
        method="dmg",
        backbone="small",
        sources=["photo", "art", "cartoon"],
        targets=["sketch"],
        seed=0,
        epochs_run=1,
        protocol={"selection": "validation", "target_labels_used": False},
        seconds={},
        **accuracies(generated()),
    )
    assert results.to_dict()["in_domain"]["split"] == "test"
