"""Methods of other kinds fit the same contract: inner loops, alternating updates, stages, closed forms."""

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from domain_masks.errors import InputError
from domain_masks.methods import Aggregate, Phase
from domain_masks.methods.base import labels_of
from domain_masks.records.config import RunConfig
from domain_masks.training.engine import TrainingEngine
from methods import contract
from methods.contract import built, of, toy_batch
from methods.engine_double import EngineDouble


class InnerLoop(Aggregate):
    """MLDG-like: a step on some domains must help on the others."""

    name = "inner_loop"
    rate = 0.1

    def training_loss(self, batch):
        """Return the loss on the first domains, and on the last one after a step on the first."""
        parameters = dict(self.network.named_parameters())
        train = batch.domains < len(self.context.sources) - 1

        def loss(weights, rows):
            logits = functional_call(self.network, weights, (batch.images[rows],))
            return functional.cross_entropy(logits, labels_of(batch)[rows])

        before = loss(parameters, train)
        gradients = torch.autograd.grad(before, list(parameters.values()), create_graph=True)
        stepped = {
            name: value - self.rate * gradient
            for (name, value), gradient in zip(parameters.items(), gradients, strict=True)
        }
        return {"meta_train": before, "meta_test": loss(stepped, ~train)}


class Alternating(Aggregate):
    """DANN-like without gradient reversal: a critic tells domains apart, then the features deceive it."""

    name = "alternating"

    def __init__(self, backbone, context, settings):
        super().__init__(backbone, context, settings)
        self.critic = nn.Linear(256, len(context.sources))

    def parameter_groups(self):
        return {**super().parameter_groups(), "critic": list(self.critic.parameters())}

    def optimizers(self):
        return {"network": ("body", "head"), "critic": ("critic",)}

    def step(self, batch, engine):
        features = self.boundary_features(batch)
        told = functional.cross_entropy(self.critic(features.detach()), batch.domains)
        engine.backward(told, batch)
        engine.update("critic")
        fixed = {name: value.detach() for name, value in self.critic.named_parameters()}
        deceived = (
            -0.1
            * engine.progress
            * functional.cross_entropy(functional_call(self.critic, fixed, (features,)), batch.domains)
        )
        learned = functional.cross_entropy(self.network.task(features), labels_of(batch))
        engine.backward(learned + deceived, batch)
        engine.update("network")
        return {"classification": learned.detach(), "critic": told.detach()}


class Staged(Aggregate):
    """Learns the head first, then everything."""

    name = "staged"

    def phases(self):
        return Phase("head", 0.25), Phase("all", 0.75)

    def optimizers(self):
        return {"body": ("body",), "head": ("head",)}

    def step(self, batch, engine):
        loss = functional.cross_entropy(self.network.task(self.boundary_features(batch)), labels_of(batch))
        engine.backward(loss, batch)
        engine.update(*(("head",) if engine.phase == "head" else ("body", "head")))
        return {engine.phase: loss.detach()}


class ClosedForm(Aggregate):
    """Nearest class mean on features that stay as they are; nothing is learned by gradient."""

    name = "closed_form"
    needs = "features"

    def __init__(self, backbone, context, settings):
        super().__init__(backbone, context, settings)
        self.register_buffer("means", torch.zeros(len(context.classes), 256))

    def fit_closed_form(self, features):
        for label in range(len(self.context.classes)):
            self.means[label] = features.features[features.labels == label].mean(0)

    def predict(self, batch):
        return {"predictions": -torch.cdist(self.boundary_features(batch), self.means)}


def train_for_real(method, steps=30, **settings):
    """The engine of the package instead of the double."""
    fabric = Fabric(accelerator="cpu", devices=1)
    config = RunConfig(optimizer="sgd", lr=0.05, **settings)
    engine = TrainingEngine(fabric, method, config, epochs=4, steps_per_epoch=(steps + 3) // 4)
    method.train()
    torch.manual_seed(0)
    log = []
    for step in range(steps):
        engine.begin(*divmod(step, engine.steps_per_epoch))
        terms = method.step(toy_batch(seed=step, step=step), engine)
        log.append({name: float(term) for name, term in terms.items()})
    return log


def accuracy(method):
    batch = toy_batch(48, seed=1000)
    with torch.no_grad():
        predicted = method.eval().predict(batch)["predictions"].argmax(1)
    return (predicted == batch.labels).float().mean().item()


@pytest.mark.parametrize("kind", [InnerLoop, Alternating])
@pytest.mark.parametrize("check", [contract.check_predictions, contract.check_steps])
def test_other_kinds_pass_the_contract(kind, check):
    check(of(kind))


def test_an_inner_loop_differentiates_through_its_step():
    method = of(InnerLoop).train()
    method.network.network.eval()
    terms = method.training_loss(toy_batch())
    second = torch.autograd.grad(terms["meta_test"], list(method.parameters()), retain_graph=True)
    method.rate = 0.0
    first = torch.autograd.grad(method.training_loss(toy_batch())["meta_test"], list(method.parameters()))
    assert any(not torch.allclose(a, b, rtol=1e-3) for a, b in zip(first, second, strict=True))


def test_an_inner_loop_learns_on_the_real_engine():
    method = of(InnerLoop)
    log = train_for_real(method, steps=16)
    assert set(log[0]) == {"meta_train", "meta_test"}
    assert sum(log[-1].values()) < 0.7 * sum(log[0].values())
    assert accuracy(method) > 0.8


def test_two_optimisers_alternate_on_the_real_engine():
    method = of(Alternating)
    critic = method.critic.weight.detach().clone()
    log = train_for_real(method)
    assert log[-1]["classification"] < 0.7 * log[0]["classification"]
    assert not torch.equal(method.critic.weight, critic)
    assert accuracy(method) > 0.8


def test_each_optimiser_updates_its_own_parameters():
    method = of(Alternating).train()
    engine = EngineDouble(method, lr=0.1)
    before = {name: value.detach().clone() for name, value in method.named_parameters()}
    engine.backward(method.critic(method.boundary_features(toy_batch())).square().sum(), toy_batch())
    engine.update("critic")
    moved = {name for name, value in method.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"critic.weight", "critic.bias"}


def test_stages_follow_one_another_on_the_real_engine():
    method = of(Staged)
    body = method.network.network.features.block1[0].weight
    start = body.detach().clone()
    log = train_for_real(method, steps=4)
    assert [next(iter(terms)) for terms in log] == ["head", "all", "all", "all"]
    assert not torch.equal(body, start)


def test_a_closed_form_fits_features_at_once():
    method = of(ClosedForm).eval()
    batch = toy_batch(96)
    with torch.no_grad():
        features = method.network.features(batch.images)
    method.fit_closed_form(type(batch)(None, batch.labels, batch.domains, batch.ids, features=features))
    assert accuracy(method) > 0.8
    contract.check_predictions(method)


def test_a_method_by_gradient_has_no_closed_form():
    with pytest.raises(InputError, match=r"method 'dmg' is trained by gradient: it has no closed form"):
        built("dmg").fit_closed_form(toy_batch())


def test_the_double_and_the_real_engine_do_the_same():
    twin, method = built("dmg"), built("dmg")
    losses = EngineDouble(twin, steps=5, lr=0.05).train(twin, lambda step: toy_batch(seed=step, step=step))
    log = train_for_real(method, steps=5)
    assert [sum(terms.values()) for terms in log] == pytest.approx(losses, rel=1e-4)
    for name, value in method.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name], rtol=1e-3, atol=1e-5)
