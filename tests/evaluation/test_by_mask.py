from dataclasses import replace

import numpy as np
import pytest

from domain_masks.errors import InputError
from domain_masks.evaluation import (
    mask_by_domain,
    nearest_logits,
    nearest_on_domain,
    nearest_source,
    source_logits,
    top1,
)
from references.by_mask import nearest_source as slow
from references.predictions import SOURCES, generated


def test_every_mask_on_every_domain():
    predictions = generated()
    table = mask_by_domain(predictions)
    assert list(table) == ["known:photo", "known:art", "known:cartoon", "predictions"]
    for ensemble, row in table.items():
        assert list(row) == ["photo", "art", "cartoon", "sketch"]
        for domain, value in row.items():
            part = predictions.select(split="held_out" if domain == "sketch" else "test", domain=domain)
            assert value == top1(part.of(ensemble), part.labels)


def test_other_ensembles_come_last():
    predictions = generated()
    more = {"weighted": predictions.of("known:art"), **predictions.logits, "masks": predictions.of("predictions")}
    table = mask_by_domain(replace(predictions, logits=more))
    assert list(table)[-3:] == ["predictions", "masks", "weighted"]
    assert table["weighted"] == table["known:art"]


def test_a_method_without_masks_has_its_one_row():
    predictions = generated(known=False)
    assert list(mask_by_domain(predictions)) == ["predictions"]
    with pytest.raises(InputError, match="no mask or head per domain"):
        source_logits(predictions)


@pytest.mark.parametrize("seed", range(5))
def test_nearest_source_reference(seed):
    logits = np.random.default_rng(seed).normal(0, 3, size=(3, 50, 4)).astype(np.float32)
    assert nearest_source(logits).tolist() == slow(logits.tolist())


def test_nearest_source_is_told_where_probabilities_round_to_one():
    logits = np.zeros((2, 1, 3), dtype=np.float32)
    logits[:, 0, 1] = (100, 101)
    assert nearest_source(logits).tolist() == [1]
    assert nearest_source(logits[::-1]).tolist() == [0]


def test_of_equal_ones_the_first_is_nearest():
    assert nearest_source(np.ones((3, 2, 4), dtype=np.float32)).tolist() == [0, 0]


def test_a_constant_added_to_a_source_changes_nothing():
    logits = np.random.default_rng(0).normal(size=(3, 20, 4)).astype(np.float32)
    moved = logits + np.array([0.0, 50.0, -50.0], dtype=np.float32)[:, None, None]
    assert nearest_source(moved).tolist() == nearest_source(logits).tolist()


def test_nearest_logits_are_those_of_the_chosen_source():
    predictions = generated()
    nearest = nearest_source(source_logits(predictions))
    for row, (logits, index) in enumerate(zip(nearest_logits(predictions), nearest, strict=True)):
        assert (logits == predictions.of(f"known:{SOURCES[index]}")[row]).all()


def test_nearest_on_a_domain():
    part = generated().select(split="held_out", domain="sketch")
    found = nearest_on_domain(part)
    nearest = nearest_source(source_logits(part))
    assert found.shares == {source: np.mean(nearest == index) for index, source in enumerate(SOURCES)}
    assert sum(found.shares.values()) == pytest.approx(1)
    right = nearest_logits(part).argmax(1) == part.labels
    other = part.of("predictions").argmax(1) == part.labels
    assert found.accuracy["nearest"] == right.mean()
    assert found.accuracy["predictions"] == other.mean()
    assert (found.test.first_only, found.test.second_only) == ((right & ~other).sum(), (other & ~right).sum())
    assert found.agreement == (nearest_logits(part).argmax(1) == part.of("predictions").argmax(1)).mean()
    single = {source: top1(part.of(f"known:{source}"), part.labels) for source in SOURCES}
    assert found.accuracy["best_single"] == single[found.best_single] == max(single.values())
    assert "weighted" not in found.accuracy


def test_nearest_on_nothing_is_refused():
    part = generated().select(split="held_out", domain="sketch")
    with pytest.raises(InputError, match="at least one sample"):
        nearest_on_domain(part.rows(np.zeros(len(part), dtype=np.bool_)))
