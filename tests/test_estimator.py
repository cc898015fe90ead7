"""The scikit-learn classifier: its contract, its masks, and what it refuses."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import domain_masks as dm
from domain_masks.errors import InputError


def blobs(count: int = 240) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes by the first feature; the second one says the class in a way of its own in each domain."""
    random = np.random.default_rng(0)
    labels, domains = random.integers(0, 2, count), random.integers(0, 3, count)
    first = labels + 0.3 * random.normal(size=count)
    second = labels * (domains - 1) + 0.3 * random.normal(size=count)
    return np.stack([first, second], 1), np.array(["no", "yes"])[labels], np.array(["a", "b", "c"])[domains]


def small(**more: Any) -> dm.DomainMaskClassifier:
    return dm.DomainMaskClassifier(
        **{"hidden": (16, 8), "epochs": 30, "lr": 1e-2, "random_state": 0, "device": "cpu", **more}
    )


def test_it_learns_and_is_repeated_by_its_seed() -> None:
    X, y, domains = blobs()
    fitted = small().fit(X, y, domains)
    assert fitted.score(X, y) > 0.9
    assert fitted.domains_.tolist() == ["a", "b", "c"]
    assert fitted.network_.masks.domains == 3
    np.testing.assert_allclose(fitted.predict_proba(X).sum(1), 1)
    assert set(fitted.predict_by_domain(X)) == {"a", "b", "c"}
    np.testing.assert_array_equal(clone(fitted).fit(X, y, domains).predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))
    assert not np.array_equal(small(random_state=1).fit(X, y, domains).predict_proba(X), fitted.predict_proba(X))


def test_it_is_part_of_a_pipeline_with_a_network_of_ones_own() -> None:
    X, y, domains = blobs()

    def network(classes: int) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, classes))

    pipeline = make_pipeline(StandardScaler(), small(network=network, sites=["2"]))
    pipeline.fit(X, y, domainmaskclassifier__domains=domains)
    assert pipeline.score(X, y) > 0.9
    images = np.repeat(X.astype(np.float32)[:, :1, None], 4, axis=2)[:, None]  # (N, 1, 1, 4)

    def by_images(classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, classes))

    assert small(network=by_images, sites=["3"]).fit(images, y, domains).score(images, y) > 0.9


def test_what_is_wrong_is_one_message() -> None:
    X, y, domains = blobs(20)
    with pytest.raises(InputError, match=r"epochs: .*got 0; lr: expected a number above 0, got -1"):
        small(epochs=0, lr=-1).fit(X, y, domains)
    with pytest.raises(InputError, match="hidden: expected"):
        small(hidden=()).fit(X, y, domains)
    with pytest.raises(ValueError, match="the domain of each of 20 rows, got 3"):
        small().fit(X, y, domains[:3])
    with pytest.warns(UserWarning, match="no domains given"):
        small(epochs=1).fit(X, y)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:no domains given")
@parametrize_with_checks([small(epochs=60)])
def test_it_keeps_the_contract_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_last_batch_of_one_row_is_left_out_and_batch_norm_runs() -> None:
    X, y, domains = blobs(65)
    seen: list[int] = []

    class Counting(nn.BatchNorm1d):
        def forward(self, values: Any) -> Any:
            if self.training:
                seen.append(len(values))
            return super().forward(values)

    def network(classes: int) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), Counting(8), nn.ReLU(), nn.Linear(8, classes))

    fitted = small(network=network, sites=["3"], epochs=3, batch=32).fit(X, y, domains)
    assert seen == [32, 32] * 3
    assert np.isfinite(fitted.loss_curve_).all()
    seen.clear()
    small(network=network, sites=["3"], epochs=1, batch=21).fit(X, y, domains)
    assert seen == [21, 21, 21, 2]
