"""What every method must do, whatever it is: one suite on generated data, run for each entry of METHODS.

A method of one's own is held against it by ``check(method)`` for each of ``CHECKS``; :mod:`contract_runs` holds what needs
whole runs. What the suite has to know besides the class stands in :mod:`expected`.
"""

import math
from dataclasses import fields, replace
from functools import partial

import pytest
import torch

from domain_masks.batch import DomainBatch, HostRows
from domain_masks.errors import InputError
from domain_masks.methods import METHODS, Context, Method, Settings
from domain_masks.methods.descriptions import FAMILIES
from domain_masks.methods.domain_classifier import DomainClassifier
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.run_defaults import own_defaults
from domain_masks.methods.settings import check_method, method_settings
from domain_masks.networks import build_backbone
from domain_masks.randomness import BatchRandomness
from domain_masks.records.config import RunConfig, check_values
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from domain_masks.training.optimizers import trained_groups
from methods.device_double import DEVICE, on_device_double
from methods.engine_double import EngineDouble  # noqa: F401
from methods.expected import KNOWN, SOURCES, expected

CLASSES = ("dog", "elephant", "giraffe", "guitar")
SIZE = 16
ALLOWED = {"predictions", "masks", "weighted", *KNOWN}


def context(**options):
    further = partial(build_backbone, "small", len(CLASSES))
    return Context(SOURCES, CLASSES, image_size=SIZE, further_backbone=further, **options)


def built_backbone(seed=0):
    torch.manual_seed(seed)
    return build_backbone("small", len(CLASSES))


def built(name, seed=0, **settings):
    return build_method(
        name, built_backbone(seed), context(), method_settings(name, {**expected(name).settings, **settings}), seed
    )


def of(kind):
    """Return a method of a class that is not in METHODS, around a small backbone."""
    return kind(built_backbone(), context(), Settings())


def like(method):
    """Return another method as this one was when it was made."""
    if METHODS.get(method.name) is type(method):
        return build_method(method.name, built_backbone(), context(), method.settings, 0)
    return of(type(method))


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


def fitted(method):
    """Return a method that can predict: of one with a closed form, after it has been fitted to a few images."""
    if method.is_closed_form():
        with torch.no_grad():
            method.eval().fit_closed_form(as_features(method, toy_batch(48)))
    return method


def as_features(method, batch):
    """Return a batch of features of F in evaluation mode, and no images."""
    return replace(batch, images=None, features=method.network.frozen_features(batch.images))


def learnable(method, batch):
    """Return a batch as the loop gives it to the method."""
    return as_features(method, batch) if method.needs == "features" else batch


def learn(method, batches, rate=0.05, only=None):
    """Take one step of a whole training with each of ``batches``, each in an epoch of its own; returns the last terms.

    ``only`` is the index of the one that is taken, where it is not all of them.
    """
    config = RunConfig(optimizer="sgd", lr=rate, momentum=0.0)
    engine = TrainingEngine(launch(config), method.train(), config, epochs=len(batches), steps_per_epoch=1)
    terms = {}
    for epoch, batch in enumerate(batches):
        if only not in (None, epoch):
            continue
        engine.begin(epoch, 0, len(batch))
        with batch.random.seeded("layers"):
            terms = method.step(learnable(method, batch), engine)
        engine.finish_epoch()
    return terms


def steps_of(method, batch=toy_batch):
    """Return as many batches as there are phases, two at least, so that what grows with training has grown."""
    return [batch(step=step) for step in range(max(2, len(method.phases())))]


def some(batch, rows):
    """Return some rows of a batch, as a whole batch of their own."""
    parts = {name: getattr(batch, name)[rows] for name in ("images", "labels", "domains", "ids")}
    random = BatchRandomness(batch.random.seed, batch.random.step, 0, len(parts["ids"]), len(parts["ids"]))
    return replace(batch, **parts, random=random)


def has_loss(method):
    """Whether it has a loss that can be looked at alone, and not only a step of its own or a closed form."""
    return type(method).training_loss is not Method.training_loss


def check_description(method):
    """``dmg methods`` has what to say about it."""
    assert method.name == method.name.lower()
    assert method.summary
    assert all((method.paper.title, method.paper.authors, method.paper.venue))
    assert method.needs in ("images", "features", "either")
    assert method.family in {*(family.__name__.rpartition(".")[2].replace("_", "-") for family in FAMILIES), "baseline"}
    assert not method.cost or float(method.cost) > 0
    assert method.fewest_sources >= 1
    assert method.rows_per_domain >= 0


def check_ranges(method):
    """Every value that a search may draw is one that the setting can have, and its own defaults are settings."""
    own_defaults(type(method))
    own = {field.name for field in fields(method.Settings)}
    for name, found in method.search.items():
        for value in map(found.at, (0.0, 0.25, 0.5, 0.75, 1 - 1e-9)):
            if name.startswith("method."):
                assert name.removeprefix("method.") in own
                assert check_method(method.name, {name.removeprefix("method."): value})[1] == []
            else:
                assert check_values({name: value})[1] == []


def check_bad_settings(method):
    """A value that a setting cannot have is told in one line that begins with its name."""
    for field in fields(method.Settings):
        default = field.default
        # What may be any text, or nothing, has no value that is wrong in itself.
        wrong = [] if default is None or isinstance(default, str) else ["no such thing"]
        wrong += [math.nan, -math.inf] if isinstance(default, float) else []
        wrong += [0.5] if isinstance(default, int) and not isinstance(default, bool) else []
        wrong += [["several"]] if isinstance(default, str) else []
        for value in wrong:
            with pytest.raises(InputError) as caught:
                method_settings(method.name, {field.name: value})
            assert str(caught.value).startswith(f"method.{field.name}: "), value
            assert "\n" not in str(caught.value)


def check_terms(method):
    """training_loss gives finite named scalars, and the gradient of each reaches some parameter."""
    if not has_loss(method):
        return
    batch = learnable(method.train(), toy_batch())
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    # A penalty may have no weight before.
    method.begin_phase(method.phases()[-1].name)
    terms = method.training_loss(batch)
    assert terms
    for name, term in terms.items():
        assert isinstance(name, str)
        assert name
        assert term.shape == ()
        assert torch.isfinite(term)
        assert term.requires_grad, name
        gradients = torch.autograd.grad(term, trained, retain_graph=True, allow_unused=True)
        assert any(gradient is not None and gradient.any() for gradient in gradients), name


def check_penalties(method):
    """The term that a setting weights changes the parameters that it is meant for, in some phase, at once."""
    for setting, prefixes in expected(method.name).penalties.items():
        changed = built(method.name, **{setting: 2 * getattr(method.settings, setting) or 1.0})
        one, batches, reached = like(method), steps_of(method), set()
        for index in range(len(batches)):
            changed.load_state_dict(one.state_dict())
            learn(one, batches, only=index)
            learn(changed, batches, only=index)
            other = changed.state_dict()
            reached |= {name for name, value in one.state_dict().items() if not torch.equal(value, other[name])}
        for prefix in prefixes:
            assert any(name.startswith(prefix) for name in reached), (setting, prefix, sorted(reached))


def check_same_randomness(method):
    """The same batches with the same random numbers teach the same, whatever the global generator drew before."""
    if method.is_closed_form():
        return
    learned = []
    for seed in (1, 2):
        one = like(method)
        torch.manual_seed(seed)
        learn(one, steps_of(one))
        learned.append(one.state_dict())
    assert all(torch.equal(value, learned[1][name]) for name, value in learned[0].items())


def check_steps(method):
    """What a step returns is for the log: finite, and without a graph; nothing is left behind in the gradients."""
    if method.is_closed_form():
        return
    terms = learn(method, steps_of(method))
    assert terms
    assert not any(term.requires_grad for term in terms.values())
    assert all(torch.isfinite(term) and term.shape == () for term in terms.values())
    assert all(parameter.grad is None for parameter in method.parameters() if parameter.requires_grad)


def check_batches_with_few_rows(method):
    """A step goes well with the fewest rows of every source that it says it needs, or with batches that lack sources."""
    if method.is_closed_form():
        return
    whole, least = toy_batch(96), method.rows_per_domain
    if least:
        rows = torch.cat([torch.nonzero(whole.domains == domain)[:least, 0] for domain in range(len(SOURCES))])
        kinds = [rows]
    else:
        kinds = [torch.nonzero(whole.domains == 1)[:, 0], torch.tensor([0, 1]), torch.tensor([0, 12, 24, 36])]
    for rows in kinds:
        one = like(method)
        terms = learn(one, steps_of(one, lambda step, rows=rows: some(toy_batch(96, step=step), rows)))
        assert all(torch.isfinite(term) for term in terms.values()), rows
        assert all(torch.isfinite(parameter).all() for parameter in one.parameters()), rows


def check_groups(method):
    """Every parameter that is trained is in exactly one group of one optimiser, and what is frozen stays so."""
    if method.is_closed_form():
        return
    frozen = {name for name, parameter in method.named_parameters() if not parameter.requires_grad}
    trained = trained_groups(method)
    members = [id(parameter) for groups in trained.values() for group in groups.values() for parameter in group]
    assert len(members) == len(set(members))
    assert set(members) == {id(parameter) for parameter in method.parameters() if parameter.requires_grad}
    assert {"body", "head"} <= set(method.parameter_groups())
    assert abs(sum(phase.share for phase in method.phases()) - 1) < 1e-9
    learn(method, steps_of(method))
    assert frozen == {name for name, parameter in method.named_parameters() if not parameter.requires_grad}


def check_predictions(method):
    """Predict gives (N, C) under the promised names, and looks at neither labels nor domains."""
    batch = learnable(fitted(method).eval(), toy_batch(10))
    with torch.no_grad():
        ensembles = method.predict(batch)
        blind = method.predict(replace(batch, labels=None, domains=None, random=None))
        wrong = method.predict(replace(batch, labels=batch.labels.flip(0), domains=2 - batch.domains))
    assert "predictions" in ensembles
    assert set(ensembles) <= ALLOWED
    if METHODS.get(method.name) is type(method):
        assert set(ensembles) == expected(method.name).ensembles
    for name, logits in ensembles.items():
        assert logits.shape == (10, len(CLASSES)), name
        assert torch.isfinite(logits).all(), name
        assert torch.equal(logits, blind[name]), name
        assert torch.equal(logits, wrong[name]), name


def check_weighted(method):
    """With a domain classifier, a method with a prediction per source has them weighted; others have nothing to weigh."""
    batch = learnable(fitted(method).eval(), toy_batch(10))
    with torch.no_grad():
        before = method.predict(batch)
        assert "weighted" not in before
        assert method.predicts_by_domain == (set(before) >= KNOWN)
        if not method.predicts_by_domain:
            return
        pooled = method.network.pooled(method.boundary_features(batch))
        assert pooled.dim() == 2
        method.use_domain_classifier(DomainClassifier(len(SOURCES), pooled.shape[1]))
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
    fitted(method).eval()
    batch = toy_batch(6)
    with torch.no_grad():
        together = method.predict(learnable(method, batch))
        for row in range(6):
            one = DomainBatch(batch.images[row : row + 1], None, None, batch.ids[row : row + 1])
            alone = method.predict(learnable(method, one))
            for name, logits in alone.items():
                torch.testing.assert_close(logits[0], together[name][row], rtol=1e-4, atol=1e-5)


def check_features(method):
    """A batch of features gives what its images give, in evaluation and, of a loss, in training."""
    batch = toy_batch(12)
    with torch.no_grad():
        features = fitted(method).eval().network.features(batch.images)
        of_features = method.predict(replace(batch, images=None, features=features))
        for name, logits in method.predict(batch).items():
            assert torch.equal(logits, of_features[name]), name
    if not has_loss(method) or method.needs != "either":
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
        logits = method.validation_logits(learnable(fitted(method).eval(), toy_batch(8)))
    assert logits.shape == (8, len(CLASSES))
    assert torch.isfinite(logits).all()


def check_labels_are_needed(method):
    """Learning without labels is an error, not a loss of something else."""
    if has_loss(method):
        with pytest.raises(ValueError, match="labels"):
            method.train().training_loss(replace(learnable(method, toy_batch()), labels=None))


def check_something_to_look_at_is_needed(method):
    """A batch without images and features is an error."""
    with pytest.raises(ValueError, match="images or features"):
        fitted(method).eval().predict(replace(toy_batch(), images=None))


def check_steps_synchronise_with_no_device(method):
    """On a GPU no step makes the host wait for it: neither for a value, nor for a number of rows, nor for a copy."""
    if method.is_closed_form():
        return
    batches = [replace(batch, host=HostRows(batch.labels, batch.domains)) for batch in steps_of(method)]
    config, method = RunConfig(lr=0.05, clip=1.0), method.to(DEVICE).train()
    with on_device_double():
        engine = TrainingEngine(launch(config), method, config, epochs=len(batches), steps_per_epoch=1)
        for epoch, batch in enumerate(batches):
            engine.begin(epoch, 0, len(batch))
            assert method.step(learnable(method, batch.to(DEVICE)), engine)
            engine.finish_epoch()


CHECKS = (
    check_description,
    check_ranges,
    check_bad_settings,
    check_terms,
    check_penalties,
    check_same_randomness,
    check_steps,
    check_batches_with_few_rows,
    check_groups,
    check_predictions,
    check_weighted,
    check_one_row_at_a_time,
    check_features,
    check_validation,
    check_labels_are_needed,
    check_something_to_look_at_is_needed,
    check_steps_synchronise_with_no_device,
)
