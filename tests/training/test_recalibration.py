"""Statistics of batch norm as predictions see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import generated
from domain_masks.data import evaluation_batches, split_domains
from domain_masks.methods.saving import load_model
from domain_masks.progress import ConsoleReporter
from domain_masks.records.results import STATISTICS_KEPT
from domain_masks.training import evaluate, run
from domain_masks.training.image_preparation import preprocessing_of

QUIET = ConsoleReporter(quiet=True)
IN_T = "features.block2.1."
OF_DMG = {
    "boundary": "features.block2",
    "sites": ("features.block2", "classifier.head"),
    "epochs": 1,
    "domain_classifier": False,
}


@pytest.fixture(scope="module")
def data() -> Any:
    return generated.dataset()


def trained(out: Path, data: Any, **changes: Any) -> Any:
    return run(generated.config(**{**OF_DMG, **changes}), out, dataset=data, reporter=QUIET)


@pytest.fixture(scope="module")
def pair(data: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    out = tmp_path_factory.mktemp("runs")
    return trained(out / "usual", data), trained(out / "again", data, recalibrate_bn=True)


def test_statistics_of_t_alone_are_others_and_those_of_prediction(pair: tuple[Any, Any], data: Any) -> None:
    usual, again = (load_model(made.folder.path)[0].network for made in pair)
    state, other = usual.network.state_dict(), again.network.state_dict()
    changed = {name for name in state if not torch.equal(state[name], other[name]) and "num_batches" not in name}
    assert changed == {
        f"features.{block}.1.{kind}" for block in ("block2", "block3") for kind in ("running_mean", "running_var")
    }
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(usual.masks.items(), again.masks.items(), strict=True))
    # The mean activation under the masks of prediction, of images in one batch: the mean of its soft masks and their mean.
    config = generated.config(**OF_DMG)
    train = split_domains(data, ("stripes",)).train
    preparation = preprocessing_of(config, data)
    (batch,) = evaluation_batches(train, preparation, len(train), 0)
    with torch.no_grad():
        features = again.features(preparation.normalize(batch.images))
        masks = again.masks.probabilities()["features.block2"]
        means = [
            again.network.features.block2[0](features * mask[:, None, None]).mean((0, 2, 3))
            for mask in (*masks, masks.mean(0))
        ]
    assert torch.allclose(other[f"{IN_T}running_mean"], torch.stack(means).mean(0), atol=2e-2)


def test_training_and_selection_are_the_same(pair: tuple[Any, Any]) -> None:
    usual, again = pair

    def rows(made: Any) -> list[list[str]]:
        lines = [line.split(",") for line in made.folder.metrics.read_text().splitlines()]
        kept = [place for place, name in enumerate(lines[0]) if "second" not in name]
        return [[line[place] for place in kept] for line in lines]

    assert rows(usual) == rows(again)


def test_evaluating_again_gives_the_same_numbers(pair: tuple[Any, Any], data: Any) -> None:
    made = pair[1]
    again = evaluate(made.folder.path, QUIET, dataset=data).results
    assert (again.out_of_domain, again.in_domain) == (made.results.out_of_domain, made.results.in_domain)


@pytest.mark.parametrize(
    "changes",
    [{"method": "aggregate", "sites": ()}, {"freeze_features": True, "boundary": "classifier.hidden", "sites": ()}],
)
def test_other_methods_and_networks_without_batch_norm_in_t_run_as_well(
    data: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    made = trained(tmp_path / "r", data, recalibrate_bn=True, **changes)
    assert made.results.out_of_domain is not None
    said = STATISTICS_KEPT in [note.about for note in made.results.notes or ()]
    assert said == ("freeze_features" in changes)


def test_a_method_with_batch_norm_per_domain_says_that_nothing_is_estimated(data: Any, tmp_path: Path) -> None:
    settings = {"method": "dsbn", "boundary": "features.block2", "sites": (), "epochs": 1}
    usual, again = (
        run(generated.config(**settings, recalibrate_bn=on), tmp_path / str(on), dataset=data, reporter=QUIET)
        for on in (False, True)
    )
    assert usual.results.out_of_domain == again.results.out_of_domain
    assert STATISTICS_KEPT not in [note.about for note in usual.results.notes or ()]
    (note,) = [note for note in again.results.notes or () if note.about == STATISTICS_KEPT]
    assert "--recalibrate_bn changed nothing" in note.text
