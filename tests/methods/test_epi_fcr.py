from dataclasses import replace

import pytest
import torch
from torch import nn

from domain_masks.batch import DomainBatch
from domain_masks.methods.algorithms import epi_fcr
from domain_masks.randomness import BatchRandomness
from methods import contract
from methods.contract import built, learn, steps_of, still, toy_batch
from references import episodes

WEIGHTS = {"features_weight": 1.5, "classifier_weight": 0.3, "random_weight": 0.7}
FILLED_UP = epi_fcr.filled_up
TERMS = ("classification", "features", "classifier", "random")


@pytest.mark.parametrize("kind", ["all", "one"])
def test_terms_are_those_of_single_images(kind):
    method = still(built("epi_fcr", episodes=kind, **WEIGHTS))
    batch = toy_batch()
    partners, share = method.partners(batch)
    terms = method.episodic_terms(batch)
    expected = episodes.epi_fcr(method, batch, partners, share, list(WEIGHTS.values()))
    assert list(terms) == list(TERMS)
    assert [term.item() for term in terms.values()] == pytest.approx(expected, rel=1e-4)


def drawn(kind, steps=200):
    method = built("epi_fcr", episodes=kind)
    domains = torch.arange(30) % 3
    for step in range(steps):
        random = BatchRandomness(0, step, 0, 30, 30)
        yield domains, *method.partners(DomainBatch(None, None, domains, torch.arange(30), random=random))


def test_every_image_meets_any_other_source():
    counts = torch.zeros(3, 3)
    for domains, partners, share in drawn("all"):
        assert share.all()
        counts.index_put_((domains, partners), torch.ones(30), accumulate=True)
    assert not counts.diagonal().any()
    assert (counts / counts.sum(1, keepdim=True))[~torch.eye(3, dtype=torch.bool)].sub(0.5).abs().max() < 0.05


def test_images_of_one_source_meet_the_same_other_one():
    seen = set()
    for domains, partners, share in drawn("one"):
        chosen = domains[share.bool()]
        assert len(chosen) == 10
        assert len(set(chosen.tolist())) == len(set(partners[share.bool()].tolist())) == 1
        seen.add((int(chosen[0]), int(partners[share.bool()][0])))
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("term", "reached"), [("features", "body"), ("classifier", "head"), ("random", "body"), ("classification", "all")]
)
def test_each_term_reaches_what_it_is_meant_for_alone(term, reached):
    method = still(built("epi_fcr", **WEIGHTS))
    method.episodic_terms(toy_batch())[term].backward()
    head = f"network.network.{method.network.head}."
    own = {name for name, _ in method.named_parameters() if name.startswith("network.")}
    meant = {"all": own, "head": {name for name in own if name.startswith(head)}}
    meant["body"] = own - meant["head"]
    got = {name for name, value in method.named_parameters() if value.grad is not None and value.grad.any()}
    assert got == meant[reached]


def test_each_source_teaches_its_own_network_alone():
    method = built("epi_fcr").train()
    batch = replace(toy_batch(), domains=torch.ones(24, dtype=torch.int64))
    method.specific_loss(batch).backward()
    got = {name for name, value in method.named_parameters() if value.grad is not None and value.grad.any()}
    assert got == {name for name, _ in method.named_parameters() if name.startswith("specific.1.")}


def test_networks_learn_alone_in_the_warm_up_and_what_is_drawn_stays():
    method, batches = built("epi_fcr"), steps_of(built("epi_fcr"))
    before = {name: value.clone() for name, value in method.random_head.state_dict().items()}
    assert set(learn(method, batches, only=0)) == {"classification"}
    assert set(learn(method, batches, only=1)) == set(TERMS)
    assert all(torch.equal(value, before[name]) for name, value in method.random_head.state_dict().items())
    own = method.network.network.get_submodule(method.network.head).state_dict()
    assert not torch.equal(before["weight"], own["weight"])
    assert [phase.name for phase in built("epi_fcr", warm_up=0.0).phases()] == ["episodes"]


def test_the_networks_of_the_sources_stay_in_evaluation_mode():
    method = built("epi_fcr").train()
    assert method.network.network.training
    assert not any(module.training for module in method.specific.modules())


def test_on_a_gpu_the_rows_of_a_source_are_filled_up():
    rows = torch.tensor([3, 4, 8])
    assert epi_fcr.filled_up(rows, torch.device("cpu")).tolist() == [3, 4, 8]
    assert epi_fcr.filled_up(rows, torch.device("cuda")).tolist() == [3, 4] + 14 * [8]
    assert len(epi_fcr.filled_up(torch.arange(32), torch.device("cuda"))) == 32
    assert len(epi_fcr.filled_up(torch.arange(33), torch.device("cuda"))) == 48


@pytest.mark.parametrize("running", [True, False], ids=["running statistics", "those of the batch"])
def test_rows_that_are_filled_up_change_nothing(running, monkeypatch):
    build = contract.build_backbone

    def without_running_statistics(*given):
        made = build(*given)
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = module.running_var = None
                module.track_running_stats = False
        return made

    if not running:
        monkeypatch.setattr(contract, "build_backbone", without_running_statistics)
    losses, gradients = [], []
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(
            epi_fcr, "filled_up", lambda rows, _, to=device, fill=FILLED_UP: fill(rows, torch.device(to))
        )
        method = built("epi_fcr", **WEIGHTS).double().train()
        batch = toy_batch()
        batch = replace(batch, images=batch.images.double())
        terms = [method.specific_loss(batch), *method.episodic_terms(batch).values()]
        losses.append(torch.stack(terms).detach())
        torch.stack(terms).sum().backward()
        gradients.append([value.grad for value in method.parameters() if value.grad is not None])
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=0)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
