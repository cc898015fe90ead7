"""Runs that start from another run: what is taken over, what is learned, and what must not have been seen."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors

import generated
from domain_masks.data import without_rows
from domain_masks.errors import DomainMasksError, InputError, RunFolderError
from domain_masks.progress import ConsoleReporter
from domain_masks.records import Predictions
from domain_masks.records.config import parse_config, read_config
from domain_masks.records.model_card import ModelCard
from domain_masks.training import Experiment, Run, evaluate, run
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.launching import launch

METHODS = ("dmg", "aggregate", "multi_headed")
ON_NETWORK = {"backbone": None, "weights": None, "size": None}
"""Settings that come from the run that is started from."""


def load_file(path):
    """Return the tensors that training keeps of a model: the domain classifier is fitted again to the sources of every run."""
    tensors = safetensors.load_file(path)
    return {name: value for name, value in tensors.items() if not name.startswith("method.domain_classifier.")}


def trained(out: Path, **changes: Any) -> Run:
    return run(generated.config(**changes), out, dataset=generated.dataset(), reporter=ConsoleReporter(quiet=True))


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("origins")
    return {name: trained(folder / name, method=name, epochs=2) for name in METHODS}


@pytest.fixture(scope="module")
def origin(origins: dict[str, Run]) -> Run:
    return origins["dmg"]


def added(origin: Run, out: Path, **changes: Any) -> Run:
    """Train on, with the domain that was held out as a source more."""
    return trained(out, init_from=str(origin.folder.path), target="none", **{**ON_NETWORK, **changes})


FROZEN = {"freeze_features": True, "views": 1}


@pytest.mark.parametrize("frozen", [{}, FROZEN], ids=["images", "frozen"])
def test_new_source_learns_its_mask_and_changes_nothing_else(
    origin: Run, tmp_path: Path, frozen: dict[str, Any]
) -> None:
    grown = added(origin, tmp_path / "grown", learn="masks", lr=0.1, epochs=3, **frozen)
    assert grown.results.sources == ["dots", "plain", "stripes"]
    before, after = load_file(origin.folder.model), load_file(grown.folder.model)
    assert set(before) == set(after)
    masks = [name for name in before if name.startswith("masks.")]
    assert len(masks) == 2
    for name, value in before.items():
        kept = after[name][:2] if name in masks else after[name]
        assert torch.equal(kept, value), name
    fresh = load_file(added(origin, tmp_path / "fresh", learn="masks", lr=1e-9, epochs=1).folder.model)
    assert all((after[name][2] - fresh[name][2]).abs().max() > 0.01 for name in masks)


def test_known_domains_are_predicted_as_before(origin: Run, tmp_path: Path) -> None:
    grown = added(origin, tmp_path / "grown", learn="masks", epochs=1)
    parts = [
        Predictions.load(result.folder.predictions).select(split="validation").select(domain="dots")
        for result in (origin, grown)
    ]
    assert parts[0].ids.tolist() == parts[1].ids.tolist()
    np.testing.assert_allclose(parts[0].of("known:dots"), parts[1].of("known:dots"), atol=1e-6)


@pytest.mark.parametrize("frozen", [False, True])
def test_masks_are_learned_from_the_new_source_alone(origin: Run, tmp_path: Path, frozen: bool) -> None:
    grown = added(
        origin, tmp_path / "grown", learn="masks", epochs=1, **({"freeze_features": True, "views": 1} if frozen else {})
    )
    steps = int(grown.folder.metrics.read_text().splitlines()[1].split(",")[1])
    assert steps == -(-48 // 16)


def test_masks_alone_without_a_new_source_are_all_learned(origin: Run, tmp_path: Path) -> None:
    again = trained(tmp_path / "again", init_from=str(origin.folder.path), learn="masks", lr=0.1, epochs=1)
    before, after = load_file(origin.folder.model), load_file(again.folder.model)
    for name, value in before.items():
        assert torch.equal(after[name], value) != name.startswith("masks."), name


@pytest.mark.parametrize("method", METHODS)
def test_everything_is_taken_over_and_trained_on(origins: dict[str, Run], tmp_path: Path, method: str) -> None:
    source = origins[method]
    still = trained(tmp_path / "still", method=method, init_from=str(source.folder.path), lr=1e-12, epochs=1)
    before, after = load_file(source.folder.model), load_file(still.folder.model)
    weights = [name for name in before if "running" not in name and "num_batches" not in name]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in weights)
    grown = added(source, tmp_path / "grown", method=method, lr=1e-12, epochs=1)
    for name, value in load_file(grown.folder.model).items():
        if name in weights and value.shape != before[name].shape:
            assert torch.allclose(value[:2], before[name], atol=1e-6), name
    assert grown.results.to_dict().get("known_domain", {"per_domain": {"stripes": 0}})["per_domain"].keys() >= {
        "stripes"
    }


def test_masks_start_on_a_network_without_masks(origins: dict[str, Run], tmp_path: Path) -> None:
    masked = trained(
        tmp_path / "masked", init_from=str(origins["aggregate"].folder.path), learn="masks", epochs=1, method="dmg"
    )
    before, after = load_file(origins["aggregate"].folder.model), load_file(masked.folder.model)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert set(after) - set(before) == {"masks.classifier.hidden", "masks.classifier.head"}


def test_held_out_domain_that_was_trained_on_is_refused(origin: Run, tmp_path: Path) -> None:
    grown = added(origin, tmp_path / "grown", epochs=1)
    assert ModelCard.read(grown.folder.path / "model.json").trained_on == ["dots", "plain", "stripes"]
    with pytest.raises(InputError, match="'stripes' was trained on"):
        trained(tmp_path / "leak", init_from=str(grown.folder.path), target="stripes")
    # Also where the domain was seen by an earlier run of the line only.
    narrow = trained(tmp_path / "narrow", init_from=str(origin.folder.path), target="stripes", epochs=1)
    assert ModelCard.read(narrow.folder.path / "model.json").trained_on == ["dots", "plain"]


def test_run_can_be_measured_and_gone_on_with_when_its_origin_is_gone(origin: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(origin.folder.path, copy)
    grown = trained(tmp_path / "grown", init_from=str(copy), target="none", learn="masks", epochs=1, **ON_NETWORK)
    shutil.rmtree(copy)
    again = evaluate(grown.folder.path, ConsoleReporter(quiet=True), dataset=generated.dataset())
    assert again.results.in_domain == grown.results.in_domain
    assert ModelCard.read(grown.folder.path / "model.json").trained_on == ["dots", "plain", "stripes"]
    config = parse_config(read_config(grown.folder.config))
    assert run(config, grown.folder.path, resume=True, dataset=generated.dataset()).results == again.results


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"init_from": "nowhere"}, RunFolderError, "nowhere.*no folder"),
        ({"init_from": "."}, RunFolderError, "without them"),
        ({"backbone": "resnet18", "size": 32}, InputError, "backbone 'small'.*got 'resnet18'"),
        ({"method": "aggregate", "learn": "masks"}, DomainMasksError, "has none"),
        ({"learn": "masks", "init_from": None}, DomainMasksError, "init_from"),
    ],
)
def test_what_cannot_be_started_from_is_refused(
    origin: Run, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        trained(tmp_path / "r", **{"init_from": str(origin.folder.path), **changes})


def test_images_that_were_trained_on_may_not_measure(origin: Run, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"validation, test and held-out images, such as .* were trained on.*--split_seed"
    ):
        trained(tmp_path / "again", init_from=str(origin.folder.path), split_seed=7)
    # Also what an earlier run of the line has seen.
    second = trained(tmp_path / "second", init_from=str(origin.folder.path), epochs=1)
    seen = [set(load_checkpoint(r.folder.last)["facts"]["trained_images"].tolist()) for r in (origin, second)]
    assert seen[0] == seen[1]
    assert len(seen[0]) == len(load_checkpoint(origin.folder.last)["facts"]["trained_images"]) == 96
    with pytest.raises(InputError, match="were trained on"):
        trained(tmp_path / "third", init_from=str(second.folder.path), split_seed=7)


def test_masks_at_some_of_the_sites_can_neither_stay_nor_be_learned(tmp_path: Path) -> None:
    narrow = trained(tmp_path / "narrow", sites=["classifier.head"], boundary="classifier.hidden", epochs=1)
    sites = ["classifier.hidden", "classifier.head"]
    with pytest.raises(InputError, match=r"has no masks.classifier.hidden: expected masks at the same sites"):
        added(narrow, tmp_path / "grown", learn="masks", sites=sites)
    whole = added(narrow, tmp_path / "whole", sites=sites, epochs=1)
    assert set(whole.results.masks) == set(sites)


def test_heads_of_several_domains_do_not_become_one(origins: dict[str, Run], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"network with one head.*got multi_headed on small"):
        trained(tmp_path / "r", init_from=str(origins["multi_headed"].folder.path), method="aggregate")


def test_images_are_prepared_as_for_the_network_that_is_started_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranged = trained(tmp_path / "ranged", epochs=1, value_range="0,128", resizing="released-code")

    def started(name: str, **changes: Any) -> tuple[dict[str, Any], str]:
        settings = generated.config(init_from=str(ranged.folder.path), target="none", **{**ON_NETWORK, **changes})
        made = run(settings, tmp_path / name, dataset=generated.dataset(), reporter=ConsoleReporter())
        return read_config(made.folder.config), "".join(capsys.readouterr())

    config, said = started("same", resizing="released-code")
    assert config["value_range"] == "0,128"
    assert "has seen other images" not in said
    config, said = started("other", value_range="0,255", mean=[0.25, 0.5, 0.5])
    assert config["value_range"] == "0,255"
    assert "note: --value_range is 0,255 in this run and 0,128 in the one that it starts from" in said
    assert "note: --resizing is once in this run and released-code in the one that it starts from" in said
    assert "note: --mean is 0.25 0.5 0.5 in this run" in said
    assert "note: --std" not in said


def test_class_weights_are_of_what_is_learned_from(origin: Run) -> None:
    settings = generated.config(
        init_from=str(origin.folder.path), learn="masks", target=[], class_weights="balanced", weight_decay=0.0
    )
    unequal = generated.dataset()
    kept = np.flatnonzero((unequal.domain_indices < 2) | (unequal.labels > 0) | (np.arange(len(unequal)) % 20 < 8))
    unequal = without_rows(unequal, np.setdiff1d(np.arange(len(unequal)), kept).tolist())
    experiment = Experiment(settings, unequal, launch(settings), ConsoleReporter(quiet=True))
    weights = np.array(experiment.method.context.class_weights)
    train = experiment.splits.train
    mine = train.labels[train.domain_indices == unequal.domains.index("stripes")]
    assert np.isclose(weights[mine].mean(), 1)
    assert weights[0] > weights[1]


def test_other_classes_are_refused(origin: Run, tmp_path: Path) -> None:
    other = replace(generated.dataset(), classes=("blue", "green", "yellow"))
    settings = generated.config(init_from=str(origin.folder.path))
    with pytest.raises(InputError, match="other classes"):
        run(settings, tmp_path / "r", dataset=other, reporter=ConsoleReporter(quiet=True))


def test_class_weights_balance_the_classes(tmp_path: Path) -> None:
    whole = generated.dataset()
    kept = np.flatnonzero((whole.labels > 0) | (np.arange(len(whole)) % 20 < 5))
    ids = tuple(whole.ids[row] for row in kept)
    opener = generated.Opener(whole.open_image.pixels[kept])
    unequal = replace(
        whole,
        ids=ids,
        labels=whole.labels[kept],
        domain_indices=whole.domain_indices[kept],
        open_image=opener,
        fingerprint="u",
    )
    settings = generated.config(class_weights="balanced", deterministic=False)
    experiment = Experiment(settings, unequal, launch(settings), ConsoleReporter(quiet=True))
    weights = np.array(experiment.method.context.class_weights)
    labels = experiment.splits.train.labels
    counts = np.bincount(labels)
    np.testing.assert_allclose(weights, len(labels) / (3 * counts))
    assert np.isclose(weights[labels].mean(), 1)
    logits = torch.randn(6, 3)
    targets = torch.tensor([0, 1, 2, 0, 0, 1])
    loss = experiment.method.classification_loss(logits, targets)
    single = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    assert torch.isclose(loss, (single * torch.tensor(weights, dtype=torch.float32)[targets]).mean())
    weighted = run(settings, tmp_path / "w", dataset=unequal, reporter=ConsoleReporter(quiet=True))
    plain = run(generated.config(), tmp_path / "p", dataset=unequal, reporter=ConsoleReporter(quiet=True))
    assert weighted.folder.model.read_bytes() != plain.folder.model.read_bytes()


def test_deterministic_runs_repeat(tmp_path: Path) -> None:
    first = trained(tmp_path / "1", deterministic=True, epochs=1)
    assert not torch.are_deterministic_algorithms_enabled(), "the caller's process is given back as it was"
    second = trained(tmp_path / "2", deterministic=True, epochs=1)
    assert first.folder.model.read_bytes() == second.folder.model.read_bytes()
