"""SAM and SAGM."""

import copy

import pytest
import torch
from torch.nn import functional

from domain_masks.methods import METHODS
from domain_masks.methods.algorithms.sharpness import ascent
from domain_masks.records.config import RunConfig
from domain_masks.settings.contradictions import contradictions
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from methods.contract import as_features, built, learn, still, toy_batch
from references import penalties

SETTINGS = {"sam": {"radius": 0.3}, "sagm": {"radius": 0.3, "descent": 0.2}}


def loss_of(batch):
    def loss(method):
        features = batch.features if batch.features is not None else method.network.features(batch.images)
        return functional.cross_entropy(method.network.task(features), batch.labels)

    return loss


def test_the_ascent_has_the_norm_that_is_asked_for():
    gradients = {"a": torch.randn(3, 2), "b": torch.randn(4)}
    moves = ascent(gradients, 0.3)
    flat, original = (torch.cat([value.flatten() for value in given.values()]) for given in (moves, gradients))
    assert flat.norm().item() == pytest.approx(0.3)
    assert functional.cosine_similarity(flat, original, dim=0).item() == pytest.approx(1.0)
    assert not any(value.any() for value in ascent({"a": torch.zeros(3)}, 0.3).values())


@pytest.mark.parametrize("frozen", [False, True], ids=["images", "features"])
@pytest.mark.parametrize("name", ["sam", "sagm"])
def test_a_step_is_by_the_gradient_at_moved_weights(name, frozen):
    method = still(built(name, **SETTINGS[name]))
    if frozen:
        method.network.freeze_features()
    batch = as_features(method, toy_batch()) if frozen else toy_batch()
    reference = copy.deepcopy(method)
    trained = torch.nn.ParameterList([value for value in reference.parameters() if value.requires_grad])
    share = 0.5 if name == "sagm" else 0.0
    here, there = penalties.sharpness_aware_step(
        trained,
        lambda _: loss_of(batch)(reference),
        SETTINGS[name]["radius"],
        SETTINGS[name].get("descent", 0.0),
        share,
        0.1,
    )
    assert there != here
    config = RunConfig(optimizer="sgd", lr=0.1, momentum=0.0)
    engine = TrainingEngine(launch(config), method, config, epochs=1, steps_per_epoch=1)
    engine.begin(0, 0, len(batch))
    terms = method.step(batch, engine)
    assert float(terms["classification"]) == pytest.approx(share * here + (1 - share) * there, rel=1e-5)
    assert float(engine.logged["sharpness"]) == pytest.approx(there - here, rel=1e-3, abs=1e-6)
    for (key, own), other in zip(method.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", ["sam", "sagm"])
def test_only_the_first_pass_moves_the_statistics_of_batch_norm(name):
    method, plain = built(name), built("aggregate")
    plain.load_state_dict(method.state_dict())
    for one in (method, plain):
        learn(one, [toy_batch()])
    buffers = dict(plain.named_buffers())
    assert buffers
    for key, own in method.named_buffers():
        torch.testing.assert_close(own, buffers[key])


@pytest.mark.parametrize("name", ["sam", "sagm"])
def test_accumulated_batches_are_each_looked_at_by_themselves(name):
    batches = [toy_batch(seed=step, step=step) for step in range(2)]
    method = still(built(name, **SETTINGS[name]))
    single = []
    for batch in batches:
        one = copy.deepcopy(method)
        learned_alone = _train(one, [batch], 1)
        single.append([before - after for before, after in zip(method.parameters(), learned_alone, strict=True)])
    together = _train(copy.deepcopy(method), batches, 2)
    for before, after, *moves in zip(method.parameters(), together, *single, strict=True):
        torch.testing.assert_close(before - after, sum(moves) / 2, rtol=1e-3, atol=1e-6)


def _train(method, batches, accumulate):
    config = RunConfig(optimizer="sgd", lr=0.1, momentum=0.0, accumulate=accumulate)
    engine = TrainingEngine(launch(config), method, config, epochs=1, steps_per_epoch=len(batches))
    for index, batch in enumerate(batches):
        engine.begin(0, index, len(batch))
        method.step(batch, engine)
    return [parameter.detach() for parameter in method.parameters()]


@pytest.mark.parametrize("name", ["sam", "sagm"])
def test_scaled_gradients_are_refused(name):
    (line,) = contradictions(RunConfig(method=name, precision="16", device="cuda"), METHODS[name])
    assert line == f"precision: method {name!r} reads gradients, which are scaled with 16: use bf16 or 32"
