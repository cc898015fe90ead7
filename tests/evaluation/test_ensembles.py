from dataclasses import replace

import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.evaluation import average_logits, average_probabilities, can_be_weighted, check_ensemble, recombine
from domain_masks.evaluation.ensembles import log_softmax
from references import ensembles as slow
from references.predictions import SOURCES, generated


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(scale=3, size=(3, 10, 4))


def test_references(logits):
    np.testing.assert_allclose(average_logits(logits), slow.average_logits(logits))
    np.testing.assert_allclose(average_probabilities(logits), slow.average_probabilities(logits))
    np.testing.assert_allclose(log_softmax(logits[0]), [np.log(slow.softmax(row)) for row in logits[0]])


def test_one_domain_is_itself(logits):
    np.testing.assert_allclose(average_logits(logits[:1]), logits[0])
    np.testing.assert_allclose(average_probabilities(logits[:1]), log_softmax(logits[0]))


def test_equal_domains_are_each_of_them(logits):
    same = np.stack([logits[0]] * 5)
    np.testing.assert_allclose(average_logits(same), logits[0])
    np.testing.assert_allclose(average_probabilities(same), log_softmax(logits[0]))


def test_mean_probabilities_add_up_to_one(logits):
    np.testing.assert_allclose(np.exp(average_probabilities(logits)).sum(axis=1), 1.0)


def test_order_of_domains_does_not_matter(logits):
    np.testing.assert_allclose(average_probabilities(logits[::-1]), average_probabilities(logits))


def test_extreme_logits_stay_finite():
    logits = np.array([[[1e4, -1e4, 0.0]], [[-1e4, 1e4, 0.0]]], dtype=np.float32)
    averaged = average_probabilities(logits)
    np.testing.assert_allclose(averaged, [[np.log(0.5), np.log(0.5), -1e4]], rtol=1e-3)
    np.testing.assert_allclose(average_probabilities(np.full((2, 1, 4), -1e6)), np.log(0.25))


def test_the_two_averages_differ_where_one_domain_is_sure():
    logits = np.array([[[8.0, 0.0]], [[0.0, 2.0]], [[0.0, 2.0]]])
    assert average_logits(logits).argmax() == 0
    assert average_probabilities(logits).argmax() == 1


@pytest.mark.parametrize("shape", [(3, 4), (0, 5, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("average", [average_logits, average_probabilities])
def test_other_shapes_are_refused(shape, average):
    with pytest.raises(InputError, match=r"shape \(D, N, C\)"):
        average(np.zeros(shape))


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_recombined(average):
    predictions = generated()
    stacked = np.stack([predictions.of(f"known:{source}") for source in SOURCES])
    expected = getattr(slow, f"average_{average}")(stacked.astype(np.float64))
    found = recombine(predictions, average)
    np.testing.assert_allclose(found.of("predictions"), expected, rtol=1e-5, atol=1e-6)
    assert found.ensembles == predictions.ensembles
    np.testing.assert_array_equal(found.of("known:art"), predictions.of("known:art"))
    assert not np.array_equal(predictions.of("predictions"), found.of("predictions"))


def weighted(predictions):
    return replace(predictions, logits={**predictions.logits, "weighted": predictions.of("known:art")})


def test_weights_are_not_among_predictions_so_that_what_they_gave_is_left_out():
    assert recombine(weighted(generated())).ensembles == generated().ensembles


def test_an_ensemble_that_is_there_is_accepted():
    for name in weighted(generated()).ensembles:
        check_ensemble(weighted(generated()), name)


@pytest.mark.parametrize(
    ("predictions", "ensemble", "message"),
    [
        (generated(), "weighted", "no domain classifier was fitted, .* --ensemble weighted` fits one"),
        (generated(known=False), "weighted", "'weighted': the run's method has none, expected one of predictions$"),
        (generated(known=False), "masks", "'masks': the run's method has none, expected one of predictions$"),
        (generated(known=False), "known:art", "'known:art': the run's method has none"),
        (generated(), "known:sketch", "'sketch' was held out"),
        (weighted(generated()), "wieghted", "unknown ensemble 'wieghted': .* Did you mean 'weighted'"),
    ],
)
def test_an_ensemble_that_is_not_there_is_named(predictions, ensemble, message):
    with pytest.raises(InputError, match=message):
        check_ensemble(predictions, ensemble)


def test_what_can_be_weighted():
    assert can_be_weighted(generated())
    assert not can_be_weighted(generated(known=False))
    two = {name: logits for name, logits in generated().logits.items() if name != f"known:{SOURCES[2]}"}
    assert can_be_weighted(replace(generated(), sources=SOURCES[:2], logits=two))
    one = generated(splits=("validation",)).select(domain="art")
    assert not can_be_weighted(
        replace(one, sources=("art",), logits={n: one.of(n) for n in ("predictions", "known:art")})
    )


def test_recombining_needs_every_source_and_a_known_average():
    with pytest.raises(InputError, match="got none of known:photo, known:art, known:cartoon"):
        recombine(generated(known=False))
    with pytest.raises(InputError, match=r"unknown average 'probability'.*Did you mean 'probabilities'"):
        recombine(generated(), "probability")
