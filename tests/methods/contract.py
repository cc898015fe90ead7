"""What every method must do, whatever it is: one suite on generated data, run for each entry of METHODS.

A method of one's own is held against it by ``check(method)`` for each of ``CHECKS``.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch

from domain_masks.batch import DomainBatch
from domain_masks.methods import METHODS, Context, Settings
from domain_masks.methods.build import build_method
from domain_masks.methods.domain_classifier import DomainClassifier
from domain_masks.methods.settings import method_settings
from domain_masks.networks import build_backbone
from domain_masks.randomness import BatchRandomness
from domain_masks.training.optimizers import optimizers_of

SOURCES = ("art", "cartoon", "photo")
CLASSES = ("dog", "elephant", "giraffe", "guitar")
SIZE = 16
KNOWN = {f"known:{source}" for source in SOURCES}
PROMISED = {
    "dmg": {"predictions", "masks", *KNOWN},
    "aggregate": {"predictions"},
    "multi_headed": {"predictions", *KNOWN},
    "dann": {"predictions"},
    "crossgrad": {"predictions"},
    "dsn": {"predictions"},
    "fusion": {"predictions", *KNOWN},
}
ALLOWED = {"predictions", "masks", "weighted", *KNOWN}


def context(**options):
    further = partial(build_backbone, "small", len(CLASSES))
    return Context(SOURCES, CLASSES, image_size=SIZE, further_backbone=further, **options)


def built(name, seed=0, **settings):
    torch.manual_seed(seed)
    backbone = build_backbone("small", len(CLASSES))
    return build_method(name, backbone, context(), method_settings(name, settings), seed)


def of(kind):
    """Return a method of a class that is not in METHODS, around a small backbone."""
    torch.manual_seed(0)
    return kind(build_backbone("small", len(CLASSES)), context(), Settings())


def still(method):
    """In training mode, but with batch norm and dropout as in evaluation."""
    method.train()
    method.network.network.eval()
    return method


def toy_batch(count=24, seed=0, step=0):
    """Classes are told by colour and place, domains by brightness; both are easy to separate."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(CLASSES)
    domains = torch.arange(count) // len(CLASSES) % len(SOURCES)
    images = torch.randn(count, 3, SIZE, SIZE, generator=generator) * 0.3
    for index, (label, domain) in enumerate(zip(labels.tolist(), domains.tolist(), strict=True)):
        images[index, label % 3, :, (SIZE // 2) * (label // 3) :] += 2.0
        images[index] += 0.3 * domain
    return DomainBatch(
        images, labels, domains, torch.arange(count), random=BatchRandomness(seed, step, 0, count, count)
    )


class EngineDouble:
    """The least that an engine is: one process, no accumulation, plain SGD with momentum."""

    def __init__(self, method, steps=30, lr=0.05):
        self.method = method
        self.lr = lr
        self.epochs = 1
        self.steps = self.steps_per_epoch = steps
        self.epoch = 0
        self.global_step = 0
        self.phase = method.phases()[0].name
        self.logged = {}
        groups = method.parameter_groups()
        self.optimizers = {}
        for name, kind in optimizers_of(method).items():
            parameters = [parameter for group in kind.groups for parameter in groups[group] if parameter.requires_grad]
            if parameters:
                self.optimizers[name] = torch.optim.SGD(parameters, kind.lr or lr, momentum=0.9)

    @property
    def progress(self):
        return self.global_step / self.steps

    def rate(self, group):
        return self.lr

    def backward(self, loss, batch, only=None, retain=False):
        names = self.optimizers if only is None else only
        groups = [group for name in names for group in self.optimizers[name].param_groups]
        inputs = None if only is None else [parameter for group in groups for parameter in group["params"]]
        loss.backward(retain_graph=retain, inputs=inputs)

    def update(self, *optimizers):
        for name in optimizers or tuple(self.optimizers):
            self.optimizers[name].step()
            self.optimizers[name].zero_grad()
        self.method.after_update(self)

    def log(self, name, value):
        self.logged.setdefault(name, []).append(float(value))

    def reduce(self, value):
        return value

    def train(self, method, batch_of):
        """Run all steps; ``batch_of`` is step -> batch. Returns the sums of the terms."""
        method.train()
        losses = []
        method.begin_phase(self.phase)
        method.begin_epoch(self)
        for step in range(self.steps):
            self.global_step = step
            method.zero_grad()
            terms = method.step(batch_of(step), self)
            losses.append(sum(float(term) for term in terms.values()))
        method.end_epoch(self)
        return losses


def check_terms(method):
    """training_loss gives finite named scalars that carry a gradient."""
    terms = method.train().training_loss(toy_batch())
    assert terms
    for name, term in terms.items():
        assert isinstance(name, str)
        assert name
        assert term.shape == ()
        assert torch.isfinite(term)
        assert term.requires_grad


def check_gradients(method):
    """Every parameter takes part when all domains are present."""
    sum(method.train().training_loss(toy_batch()).values()).backward()
    silent = [name for name, parameter in method.named_parameters() if parameter.grad is None]
    assert silent == []
    still = [name for name, parameter in method.named_parameters() if not parameter.grad.any()]
    assert still == []


def check_same_randomness(method):
    """The same batch with the same random numbers is the same loss, whatever the global generator drew before."""
    method.train()
    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        batch = toy_batch()
        with batch.random.seeded("layers"):
            values.append(sum(method.training_loss(batch).values()).item())
    assert values[0] == values[1]


def check_predictions(method):
    """Predict gives (N, C) under the promised names, and looks at neither labels nor domains."""
    method.eval()
    batch = toy_batch(10)
    with torch.no_grad():
        ensembles = method.predict(batch)
        blind = method.predict(replace(batch, labels=None, domains=None, random=None))
    assert "predictions" in ensembles
    assert set(ensembles) <= ALLOWED
    if METHODS.get(method.name) is type(method):
        assert set(ensembles) == PROMISED[method.name]
    for name, logits in ensembles.items():
        assert logits.shape == (10, len(CLASSES)), name
        assert torch.isfinite(logits).all(), name
        assert torch.equal(logits, blind[name]), name


def check_weighted(method):
    """With a domain classifier, a method with a prediction per source has them weighted; others have nothing to weigh."""
    method.eval()
    batch = toy_batch(10)
    with torch.no_grad():
        before = method.predict(batch)
        assert "weighted" not in before
        assert method.predicts_by_domain == (set(before) >= KNOWN)
        if not method.predicts_by_domain:
            return
        pooled = method.network.pooled(method.boundary_features(batch))
        assert pooled.dim() == 2
        method.domain_classifier = DomainClassifier(len(SOURCES), pooled.shape[1])
        after = method.predict(batch)
        assert set(after) == {*before, "weighted"}
        mean = sum(after[name] for name in KNOWN) / len(KNOWN)
        torch.testing.assert_close(after["weighted"], mean, rtol=1e-4, atol=1e-5)
        for index, source in enumerate(SOURCES):
            method.domain_classifier.bias.zero_()
            method.domain_classifier.bias[index] = 200.0
            own = method.predict(batch)
            torch.testing.assert_close(own["weighted"].softmax(1), own[f"known:{source}"].softmax(1))
    assert set(method.state_dict()) > {f"domain_classifier.{name}" for name in ("weight", "bias", "mean", "scale")}


def check_one_row_at_a_time(method):
    """In evaluation mode a prediction does not depend on what else is in the batch."""
    method.eval()
    batch = toy_batch(6)
    with torch.no_grad():
        together = method.predict(batch)
        for row in range(6):
            alone = method.predict(DomainBatch(batch.images[row : row + 1], None, None, batch.ids[row : row + 1]))
            for name, logits in alone.items():
                torch.testing.assert_close(logits[0], together[name][row], rtol=1e-4, atol=1e-5)


def check_features(method):
    """A batch of features gives what its images give, in evaluation and in training."""
    batch = toy_batch(12)
    with torch.no_grad():
        features = method.eval().network.features(batch.images)
        of_features = method.predict(replace(batch, images=None, features=features))
        for name, logits in method.predict(batch).items():
            assert torch.equal(logits, of_features[name]), name
    if method.needs == "images":
        return
    losses = []
    for given in ("images", "features"):
        method.train()
        if given == "features":
            batch = replace(batch, images=None, features=method.network.features(batch.images))
        torch.manual_seed(0)
        losses.append(sum(method.training_loss(batch).values()).item())
    assert losses[0] == losses[1]


def check_validation(method):
    """The logits that choose the best epoch are (N, C)."""
    with torch.no_grad():
        logits = method.eval().validation_logits(toy_batch(8))
    assert logits.shape == (8, len(CLASSES))
    assert torch.isfinite(logits).all()


def check_groups(method):
    """Every parameter is in exactly one group, and every group of an optimiser is there."""
    groups = method.parameter_groups()
    members = [id(parameter) for group in groups.values() for parameter in group]
    assert len(members) == len(set(members))
    assert set(members) == {id(parameter) for parameter in method.parameters()}
    assert {"body", "head"} <= set(groups)
    assert all(groups.values())
    used = [name for kind in optimizers_of(method).values() for name in kind.groups]
    assert sorted(used) == sorted(groups)
    assert abs(sum(phase.share for phase in method.phases()) - 1) < 1e-9


def check_learning(method):
    """The loss falls, and the classes of the toy problem are told apart on pictures not seen."""
    torch.manual_seed(0)
    losses = EngineDouble(method).train(method, lambda step: toy_batch(seed=step, step=step))
    # Of parts that work against each other what one gains another one loses.
    assert method.family == "adversarial" or sum(losses[-5:]) < 0.7 * sum(losses[:5])
    held_back = toy_batch(48, seed=1000)
    with torch.no_grad():
        predicted = method.eval().predict(held_back)["predictions"].argmax(1)
    assert (predicted == held_back.labels).float().mean() > 0.8


def check_step_returns_plain_numbers(method):
    """What step returns is for the log: it holds no graph."""
    terms = method.train().step(toy_batch(), EngineDouble(method))
    assert terms
    assert not any(term.requires_grad for term in terms.values())


def check_labels_are_needed(method):
    """Learning without labels is an error, not a loss of something else."""
    with pytest.raises(ValueError, match="labels"):
        method.train().training_loss(replace(toy_batch(), labels=None))


def check_something_to_look_at_is_needed(method):
    """A batch without images and features is an error."""
    with pytest.raises(ValueError, match="images or features"):
        method.eval().predict(replace(toy_batch(), images=None))


def check_description(method):
    """``dmg methods`` has what to say about it."""
    assert method.name == method.name.lower()
    assert method.summary
    assert all((method.paper.title, method.paper.authors, method.paper.venue))
    assert method.needs in ("images", "features", "either")


CHECKS = (
    check_terms,
    check_gradients,
    check_same_randomness,
    check_predictions,
    check_weighted,
    check_one_row_at_a_time,
    check_features,
    check_validation,
    check_groups,
    check_learning,
    check_step_returns_plain_numbers,
    check_labels_are_needed,
    check_something_to_look_at_is_needed,
    check_description,
)
