import numpy as np

from domain_masks.evaluation import known_domain_logits, reporting_splits, samples_by_domain, samples_by_measure
from references.predictions import SOURCES, generated


def test_sources_are_shown_on_their_test_images_and_come_first():
    assert reporting_splits(generated()) == {"photo": "test", "art": "test", "cartoon": "test", "sketch": "held_out"}


def test_without_test_images_validation_is_shown_and_says_so():
    splits = reporting_splits(generated(splits=("validation", "held_out")))
    assert splits == {"photo": "validation", "art": "validation", "cartoon": "validation", "sketch": "held_out"}
    assert list(reporting_splits(generated(splits=("validation",)))) == list(SOURCES)


def test_what_is_shown_is_of_that_split_and_domain():
    for domain, part in samples_by_domain(generated()).items():
        assert {name.split("/")[0] for name in part.ids} == {domain}
        assert len(set(part.splits)) == 1


def test_every_measure_has_the_samples_that_it_is_measured_on():
    predictions = generated()
    samples = samples_by_measure(predictions)
    assert {name: set(part.splits) for name, part in samples.items()} == {
        "out_of_domain": {"held_out"},
        "in_domain": {"test"},
        "known_domain": {"test"},
    }
    assert list(samples["in_domain"].ids) == list(samples["known_domain"].ids)
    known = samples["known_domain"]
    assert known.ensembles == ("predictions",)
    np.testing.assert_array_equal(known.of("predictions"), known_domain_logits(samples["in_domain"]))


def test_validation_stands_in_for_a_missing_test_split():
    samples = samples_by_measure(generated(splits=("validation", "held_out")))
    assert set(samples["in_domain"].splits) == {"validation"}


def test_what_there_is_nothing_of_is_left_out():
    assert set(samples_by_measure(generated(splits=("held_out",)))) == {"out_of_domain"}
    assert set(samples_by_measure(generated(known=False))) == {"out_of_domain", "in_domain"}
