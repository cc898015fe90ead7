import numpy as np
import pytest

from domain_masks.deploy.predicting.prediction import ModelOutput, predictions_from, source_weights
from domain_masks.errors import InputError
from domain_masks.records.measured_metrics import FittedTemperature

CLASSES = ("cat", "dog", "fox")
SOURCES = ("ink", "paper")


def logits_of(probabilities):
    return np.log(np.array(probabilities, dtype=np.float64)).astype(np.float32)


TEMPERATURES = {"predictions": 2.5, "known:ink": 0.4}
LOGITS = {
    "predictions": logits_of([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]),
    "known:ink": logits_of([[0.8, 0.1, 0.1], [0.3, 0.3, 0.4]]),
    "known:paper": logits_of([[0.2, 0.6, 0.2], [0.1, 0.1, 0.8]]),
}


def test_a_source_weighs_its_share_of_the_confidence():
    by_source = np.stack([LOGITS[f"known:{source}"] for source in SOURCES])
    np.testing.assert_allclose(source_weights(by_source), [[0.8 / 1.4, 0.6 / 1.4], [0.4 / 1.2, 0.8 / 1.2]], rtol=1e-6)


def test_each_row_becomes_a_prediction():
    first, second = predictions_from(ModelOutput(["a", None], LOGITS), "predictions", 2, CLASSES, SOURCES)
    assert [(guess.class_name, round(guess.probability, 5)) for guess in first.top] == [("cat", 0.5), ("dog", 0.3)]
    assert (first.name, first.nearest_source, second.nearest_source) == ("a", "ink", "paper")
    assert {source: vote.class_name for source, vote in first.votes.items()} == {"ink": "cat", "paper": "dog"}
    assert (second.class_name, second.name) == ("fox", None)
    assert first.nearest_weight == pytest.approx(0.8 / 1.4)


def test_a_domain_classifier_has_the_last_word():
    domains = np.array([[0.1, 0.9], [0.75, 0.25]], dtype=np.float32)
    found = list(predictions_from(ModelOutput(["a", "b"], LOGITS, domains), "predictions", 1, CLASSES, SOURCES))
    assert [(one.nearest_source, one.nearest_weight) for one in found] == [
        ("paper", pytest.approx(0.9)),
        ("ink", pytest.approx(0.75)),
    ]


def test_the_ensemble_chooses_the_class_and_the_votes_stay():
    first, _ = predictions_from(ModelOutput(["a", "b"], LOGITS), "known:paper", 3, CLASSES, SOURCES)
    assert first.class_name == "dog"
    assert first.votes["ink"].class_name == "cat"


def test_equal_probabilities_keep_the_order_of_the_classes():
    flat = {"predictions": np.zeros((1, 3), dtype=np.float32)}
    (one,) = predictions_from(ModelOutput(["a"], flat), "predictions", 3, CLASSES, SOURCES)
    assert [guess.class_name for guess in one.top] == list(CLASSES)
    assert one.votes == {}


def test_a_temperature_changes_probabilities_and_nothing_else():
    temperatures = {name: FittedTemperature(value=value, images=9) for name, value in TEMPERATURES.items()}
    plain = list(predictions_from(ModelOutput(["a", "b"], LOGITS), "predictions", 3, CLASSES, SOURCES))
    found = list(
        predictions_from(ModelOutput(["a", "b"], LOGITS), "predictions", 3, CLASSES, SOURCES, temperatures=temperatures)
    )
    for before, after, row in zip(plain, found, range(2), strict=True):
        assert [guess.class_name for guess in after.top] == [guess.class_name for guess in before.top]
        powers = np.exp(LOGITS["predictions"][row].astype(np.float64) / TEMPERATURES["predictions"])
        expected = dict(zip(CLASSES, powers / powers.sum(), strict=True))
        for guess in after.top:
            assert guess.probability == pytest.approx(expected[guess.class_name])
        assert (after.nearest_source, after.nearest_weight) == (before.nearest_source, before.nearest_weight)
        # The votes under each mask have the temperature of that mask.
        assert after.votes["ink"].class_name == before.votes["ink"].class_name
        powers = np.exp(LOGITS["known:ink"][row].astype(np.float64) / TEMPERATURES["known:ink"])
        assert after.votes["ink"].probability == pytest.approx(powers.max() / powers.sum())
        assert after.votes["paper"] == before.votes["paper"]


def test_large_logits_stay_finite():
    large = {"predictions": np.array([[3e38, -3e38, 0]], dtype=np.float32)}
    (one,) = predictions_from(ModelOutput(["a"], large), "predictions", 3, CLASSES, ())
    assert one.probability == 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_name_the_image(value):
    broken = {**LOGITS, "known:ink": LOGITS["known:ink"] * np.array([[1], [value]], dtype=np.float32)}
    with pytest.raises(InputError, match=r"for 'b' \(known:ink\)"):
        list(predictions_from(ModelOutput(["a", "b"], broken), "predictions", 1, CLASSES, SOURCES))
