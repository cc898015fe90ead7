from dataclasses import replace

import numpy as np
import pytest
import torch

from domain_masks.methods import METHODS
from domain_masks.methods.base import average
from domain_masks.methods.prediction import predict_batches
from methods.contract import built, toy_batch


def parts_of(batch, sizes):
    first = 0
    for size in sizes:
        rows = slice(first, first + size)
        yield replace(batch, images=batch.images[rows], labels=None, domains=None, ids=batch.ids[rows] + 100)
        first += size


@pytest.mark.parametrize("name", METHODS)
def test_many_batches_are_one(name):
    method = built(name).eval()
    batch = toy_batch(11)
    logits, ids, _ = predict_batches(method, parts_of(batch, (4, 6, 1)), lambda part: part)
    assert ids.tolist() == list(range(100, 111))
    with torch.no_grad():
        for ensemble, expected in method.predict(batch).items():
            assert logits[ensemble].dtype == np.float32
            np.testing.assert_allclose(logits[ensemble], expected.numpy(), rtol=1e-4, atol=1e-5)


def test_every_batch_is_prepared():
    method = built("aggregate").eval()
    batch = toy_batch(6)
    doubled, _, _ = predict_batches(method, parts_of(batch, (6,)), lambda part: replace(part, images=part.images * 2))
    with torch.no_grad():
        expected = method.predict(replace(batch, images=batch.images * 2))["predictions"]
    np.testing.assert_allclose(doubled["predictions"], expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_evaluation_meanwhile_and_as_before_afterwards(training):
    method = built("dmg").train(training)
    seen = []

    def prepare(part):
        seen.append(method.training)
        return part

    predict_batches(method, parts_of(toy_batch(4), (2, 2)), prepare)
    assert seen == [False, False]
    assert method.training is training
    assert not method.network.network.classifier.dropout.training

    def fail(part):
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"):
        predict_batches(method, parts_of(toy_batch(2), (2,)), fail)
    assert method.training is training


def test_nothing_to_predict():
    logits, ids, _ = predict_batches(built("aggregate"), [], lambda part: part)
    assert logits == {}
    assert ids.shape == (0,)


@pytest.mark.parametrize("how", ["logits", "probabilities"])
def test_the_average_of_one_is_its_own_prediction(how):
    logits = torch.randn(1, 4, 5)
    torch.testing.assert_close(average(logits, how).softmax(1), logits[0].softmax(1))


def test_averages_of_probabilities_survive_large_logits():
    logits = torch.tensor([[[1000.0, 0.0]], [[0.0, 1000.0]]])
    torch.testing.assert_close(average(logits, "probabilities").softmax(1), torch.tensor([[0.5, 0.5]]))
