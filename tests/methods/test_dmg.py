import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from domain_masks.errors import InputError
from domain_masks.masks.functional import sample_masks
from domain_masks.networks import MaskedNetwork
from domain_masks.training.optimizers import trained_groups
from methods import contract
from methods.contract import CLASSES, SOURCES, built, toy_batch
from methods.expected import KNOWN
from references import masks as slow


def drawn(**settings):
    """DMG with masks spread around 0.5."""
    method = built("dmg", **settings)
    with torch.no_grad():
        for logits in method.mask_logits().values():
            logits.normal_(generator=torch.Generator().manual_seed(logits.shape[1]))
    return method


def plain(method):
    return {site: logits.tolist() for site, logits in method.mask_logits().items()}


def reference_classification(method, batch):
    """The instances' cross entropies, one instance under its own sampled mask at a time; batch norm as in evaluation."""
    losses = []
    for index, (label, domain) in enumerate(zip(batch.labels.tolist(), batch.domains.tolist(), strict=True)):
        as_logits = {}
        for site in method.network.sites:
            noise = batch.random.uniform(f"masks/{site.name}", site.size)[index : index + 1].tolist()
            sampled = slow.sample(plain(method)[site.name], [domain], noise)
            as_logits[site.name] = (torch.tensor(sampled) - 0.5) * 400
        axes = {site.name: site.axis for site in method.network.sites}
        logits = slow.domain_logits(method.network.network, batch.images[index : index + 1], as_logits, axes)[0]
        losses.append(functional.cross_entropy(logits, torch.tensor([label])).item())
    return losses


@pytest.mark.parametrize("classification", ["mean", "sum"])
@pytest.mark.parametrize("overlap", ["sum", "mean"])
@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
def test_equation_2_matches_the_reference(classification, overlap, epsilon):
    method = drawn(
        classification_reduction=classification,
        overlap_reduction=overlap,
        overlap_epsilon=epsilon,
        overlap_weight=0.3,
        sparsity_weight=0.01,
    ).train()
    method.network.network.eval()
    batch = toy_batch(9)
    terms = method.training_loss(batch)
    losses = reference_classification(method, batch)
    expected = {
        "classification": sum(losses) / (len(losses) if classification == "mean" else 1),
        "overlap": 0.3 * sum(slow.overlap_loss(logits, overlap, epsilon) for logits in plain(method).values()),
        "sparsity": 0.01 * sum(slow.sparsity_loss(logits) for logits in plain(method).values()),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-4)


def test_the_papers_defaults():
    settings = built("dmg").settings
    assert settings.overlap_weight == 0.1
    assert settings.overlap_reduction == "sum"
    assert settings.overlap_epsilon == 0
    assert settings.sparsity_weight == 0
    assert settings.initialisation == "uniform"
    assert not settings.dropout
    assert settings.average == "logits"


def test_terms_without_weight_are_absent():
    assert set(built("dmg").train().training_loss(toy_batch())) == {"classification", "overlap"}
    assert set(built("dmg", overlap_weight=0).train().training_loss(toy_batch())) == {"classification"}
    sparse = built("dmg", overlap_weight=0, sparsity_weight=0.1).train().training_loss(toy_batch())
    assert set(sparse) == {"classification", "sparsity"}


def test_the_overlap_weight_scales_the_overlap_alone():
    terms = {weight: drawn(overlap_weight=weight).train().training_loss(toy_batch()) for weight in (0.1, 1.0)}
    assert terms[1.0]["overlap"].item() == pytest.approx(10 * terms[0.1]["overlap"].item(), rel=1e-5)
    assert terms[1.0]["classification"].item() == terms[0.1]["classification"].item()


def test_the_noise_is_the_batchs_own():
    method = drawn().train()
    method.network.network.eval()
    same, other = toy_batch(step=0), toy_batch(step=1)
    first = method.training_loss(same)["classification"].item()
    assert method.training_loss(same)["classification"].item() == first
    assert method.training_loss(other)["classification"].item() != first


def test_processes_with_parts_of_a_batch_draw_the_masks_of_the_whole():
    method = drawn(classification_reduction="sum").train()
    method.network.network.eval()
    whole = toy_batch(12)
    total = method.training_loss(whole)["classification"].item()
    parts = 0.0
    for first, count in ((0, 5), (5, 7)):
        rows = slice(first, first + count)
        part = replace(
            whole,
            images=whole.images[rows],
            labels=whole.labels[rows],
            domains=whole.domains[rows],
            ids=whole.ids[rows],
            random=replace(whole.random, first=first, count=count),
        )
        # As the loop weights the loss of a process with this part of the rows.
        parts += method.training_loss(part)["classification"].item() * count / 12
    assert parts == pytest.approx(total, rel=1e-5)


def test_ensembles_match_the_reference():
    method = drawn().eval()
    batch = toy_batch(7)
    logits = method.mask_logits()
    axes = {site.name: site.axis for site in method.network.sites}
    bare = method.network.network
    with torch.no_grad():
        ensembles = method.predict(batch)
        each = slow.domain_logits(bare, batch.images, logits, axes)
        for index, source in enumerate(SOURCES):
            torch.testing.assert_close(ensembles[f"known:{source}"], each[index], rtol=1e-4, atol=1e-5)
        expected = slow.prediction_ensemble(bare, batch.images, logits, axes)
        torch.testing.assert_close(ensembles["predictions"], expected, rtol=1e-4, atol=1e-5)
        mean = {site: value.sigmoid().mean(0, keepdim=True).logit() for site, value in logits.items()}
        torch.testing.assert_close(
            ensembles["masks"], slow.domain_logits(bare, batch.images, mean, axes)[0], rtol=1e-4, atol=1e-5
        )
    assert not torch.allclose(ensembles["masks"], ensembles["predictions"], rtol=1e-3)


def test_probabilities_can_be_averaged():
    method = drawn(average="probabilities").eval()
    with torch.no_grad():
        ensembles = method.predict(toy_batch(7))
    expected = sum(ensembles[f"known:{source}"].softmax(1) for source in SOURCES) / len(SOURCES)
    torch.testing.assert_close(ensembles["predictions"].softmax(1), expected)
    torch.testing.assert_close(ensembles["predictions"].exp().sum(1), torch.ones(7))


def test_one_pass_serves_all_ensembles():
    method = drawn().eval()
    calls = []
    bare = method.network.network
    for name in ("features.block1", "classifier.hidden"):
        bare.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: calls.append((name, len(args[0])))
        )
    with torch.no_grad():
        method.predict(toy_batch(6))
    assert calls == [("features.block1", 6), ("classifier.hidden", 6 * (len(SOURCES) + 1))]


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_epochs_are_chosen_by_the_ensemble(average):
    method = drawn(average=average).eval()
    batch = toy_batch(7)
    with torch.no_grad():
        torch.testing.assert_close(method.validation_logits(batch), method.predict(batch)["predictions"])


def test_epochs_are_chosen_by_the_own_mask():
    method = drawn(validation="known").eval()
    batch = toy_batch(7)
    with torch.no_grad():
        ensembles, got = method.predict(batch), method.validation_logits(batch)
    for row, domain in enumerate(batch.domains.tolist()):
        torch.testing.assert_close(got[row], ensembles[f"known:{SOURCES[domain]}"][row], rtol=1e-4, atol=1e-5)


def test_epochs_are_chosen_by_the_own_hard_mask():
    method = drawn(validation="known-hard").eval()
    batch = toy_batch(7)
    hard = {
        site: (torch.tensor(slow.hard(logits.tolist())).float() - 0.5) * 400
        for site, logits in method.mask_logits().items()
    }
    axes = {site.name: site.axis for site in method.network.sites}
    with torch.no_grad():
        each = slow.domain_logits(method.network.network, batch.images, hard, axes)
        got = method.validation_logits(batch)
    for row, domain in enumerate(batch.domains.tolist()):
        torch.testing.assert_close(got[row], each[domain][row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("validation", ["known", "known-hard"])
def test_a_batch_of_unknown_domain_falls_back_to_the_ensemble(validation):
    method = drawn(validation=validation).eval()
    batch = replace(toy_batch(5), domains=None)
    with torch.no_grad():
        torch.testing.assert_close(method.validation_logits(batch), method.predict(batch)["predictions"])


def test_masks_are_a_group_of_their_own():
    method = built("dmg")
    groups = method.parameter_groups()
    assert {id(parameter) for parameter in groups["masks"]} == {id(logits) for logits in method.mask_logits().values()}
    assert {tuple(parameter.shape) for parameter in groups["head"]} == {(len(CLASSES), 128), (len(CLASSES),)}


@pytest.mark.parametrize("kept", [False, True])
def test_dropout_is_off_while_masks_are_learned_unless_told_otherwise(kept):
    assert built("dmg", dropout=kept).train().network.network.classifier.dropout.training is kept


@pytest.mark.parametrize("value", ["uniform", 0.5, -2.0])
def test_initialisation(value):
    for logits in built("dmg", initialisation=value).mask_logits().values():
        if value == "uniform":
            assert 0 <= logits.min().item() <= logits.max().item() <= 1
            assert len(logits.unique()) > 100
        else:
            assert set(logits.flatten().tolist()) == {value}


def test_training_needs_domains():
    with pytest.raises(ValueError, match="expected the domain of every training instance"):
        built("dmg").train().training_loss(replace(toy_batch(), domains=None))


def test_the_overlap_loss_moves_masks_apart():
    method = drawn().train()
    optimizer = torch.optim.Adam(method.network.masks.parameters(), 0.1)
    before = method.network.overlap_loss().item()
    for _ in range(20):
        optimizer.zero_grad()
        method.network.overlap_loss().backward()
        optimizer.step()
    assert method.network.overlap_loss().item() < 0.5 * before


# What is taken away in the ablations, see the class's docstring.

ABLATIONS = {"shared": {"masks": "shared"}, "fixed": {"masks": "fixed"}, "binary": {"masks": "binary"}}
ABLATIONS["dropout"] = {"masks": "fixed", "initialisation": 0.49}


# Penalties are for masks that are learned, one per domain.
CHECKS = [check for check in contract.CHECKS if check is not contract.check_penalties]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_is_a_method_like_any_other(name, check):
    check(built("dmg", **ABLATIONS[name]))


def test_a_shared_mask_learns_as_the_one_mask_of_a_network_with_one_domain():
    method, batch = built("dmg", masks="shared", sparsity_weight=0.01, overlap_weight=1.0).train(), toy_batch(9)
    method.network.network.eval()
    alone = MaskedNetwork(copy.deepcopy(method.network.network), 1, [site.name for site in method.network.sites])
    with torch.no_grad():
        for site, logits in alone.masks.items():
            logits.copy_(method.mask_logits()[site][:1])
    alone.train().network.eval()
    noise = {site.name: batch.random.uniform(f"masks/{site.name}", site.size) for site in alone.sites}
    logits = alone(batch.images, torch.zeros_like(batch.domains), noise)
    one = functional.cross_entropy(logits, batch.labels) + 0.01 * alone.masks.sparsity_loss()
    terms = method.training_loss(batch)
    assert set(terms) == {"classification", "sparsity"}, "there are no pairs that could overlap"
    loss = torch.stack(list(terms.values())).sum()
    assert loss.item() == pytest.approx(one.item())
    loss.backward()
    one.backward()
    for site, mask in method.mask_logits().items():
        for row in mask.grad:
            assert torch.allclose(row, alone.masks[site].grad[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_shared_mask_stays_one(optimizer):
    method = built("dmg", masks="shared")
    before = {site: logits.detach().clone() for site, logits in method.mask_logits().items()}
    made = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer](method.parameters(), lr=0.1, weight_decay=0.01)
    for step in range(3):
        made.zero_grad()
        method.train().training_loss(toy_batch(step=step))["classification"].backward()
        made.step()
    for site, logits in method.mask_logits().items():
        assert not torch.equal(logits, before[site])
        assert torch.equal(logits, logits[:1].expand_as(logits))
    logits = method.eval().predict(toy_batch())
    assert all(torch.allclose(logits[name], logits["predictions"], atol=1e-5) for name in ("masks", *KNOWN))


@pytest.mark.parametrize("name", ["fixed", "binary", "dropout"])
def test_masks_that_are_not_learned_stay_and_are_in_no_optimiser(name):
    method = built("dmg", **ABLATIONS[name])
    before = {site: logits.detach().clone() for site, logits in method.mask_logits().items()}
    assert "masks" not in trained_groups(method)["main"]
    contract.learn(method, contract.steps_of(method))
    assert all(torch.equal(logits, before[site]) for site, logits in method.mask_logits().items())


def test_fixed_masks_are_those_that_dmg_starts_with():
    usual, fixed = built("dmg"), built("dmg", masks="fixed")
    assert all(torch.equal(logits, fixed.mask_logits()[site]) for site, logits in usual.mask_logits().items())


def test_plain_dropout_drops_every_unit_alike_and_predicts_once():
    method = built("dmg", **ABLATIONS["dropout"])
    mean = torch.sigmoid(torch.rand(200_000, generator=torch.Generator().manual_seed(0))).mean()
    for probabilities in method.network.masks.probabilities().values():
        assert torch.equal(probabilities, torch.full_like(probabilities, float(probabilities[0, 0])))
        assert float(probabilities[0, 0]) == pytest.approx(float(mean), abs=2e-3)
    logits = method.eval().predict(toy_batch())
    assert all(torch.allclose(logits[name], logits["predictions"], atol=1e-5) for name in ("masks", *KNOWN))


def test_binary_masks_are_drawn_once_from_what_dmg_starts_with():
    method, usual = built("dmg", masks="binary"), built("dmg")
    for site, probabilities in method.network.masks.probabilities().items():
        assert set(probabilities.unique().tolist()) == {0.0, 1.0}
        assert not torch.equal(probabilities[0], probabilities[1])
        expected = torch.sigmoid(usual.mask_logits()[site].detach()).mean()
        assert abs(float(probabilities.mean() - expected)) < 5 * 0.5 / probabilities.numel() ** 0.5
        drawn = sample_masks(
            method.mask_logits()[site], torch.arange(len(probabilities)), torch.zeros_like(probabilities)
        )
        assert torch.equal(drawn, probabilities), "also where the noise is exactly 0"
    assert all(
        torch.equal(logits, built("dmg", masks="binary").mask_logits()[site])
        for site, logits in method.mask_logits().items()
    )


@pytest.mark.parametrize("name", ABLATIONS)
def test_masks_of_a_new_domain_need_masks_that_are_learned(name):
    with pytest.raises(InputError, match=r"learn: 'masks' needs .*method\.masks"):
        built("dmg", **ABLATIONS[name]).learn_masks(["a"])
