"""One ensemble of a method as a module of its own."""

from __future__ import annotations

import json

import pytest
import torch

from deploy.examples import card, method
from domain_masks.deploy.exporting import classifier as classifier_module
from domain_masks.deploy.exporting import export as export_module
from domain_masks.deploy.exporting.classifier import Deployable, PredictionEnsemble, classifier
from domain_masks.deploy.exporting.export_format import ExportFormat
from domain_masks.errors import InputError


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("name", ["dmg", "multi_headed"])
def test_ensembles_average_as_the_method_is_set(name: str, average: str) -> None:
    model = method(name, average=average)
    chosen = classifier(model, "predictions")
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(chosen.network(images), chosen.reference(images))
    assert isinstance(chosen.network, PredictionEnsemble) is (name == "dmg")


def test_any_ensemble_that_a_method_has_is_exported() -> None:
    model = method("aggregate")
    predict = model.predict
    model.predict = lambda batch: {**predict(batch), "weighted": 2 * predict(batch)["predictions"]}  # type: ignore[method-assign]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        got = classifier(model, "weighted").network(images)
        torch.testing.assert_close(got, 2 * model.network(images))


def test_several_masks_cannot_be_pruned() -> None:
    with pytest.raises(InputError, match=r"cannot prune the ensemble 'predictions'.*--ensemble masks"):
        classifier(method(), "predictions", 0.5)
    with pytest.raises(InputError, match="got method 'aggregate'"):
        classifier(method("aggregate"), "predictions", 0.5)


def test_the_method_is_left_as_it_is() -> None:
    model = method()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Deployable(classifier(model, "masks", 0.5).network, half=True)
    Deployable(classifier_module.classifier(model, "predictions").network, half=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert json.dumps(export_module.describe(model, card(), ExportFormat()))
