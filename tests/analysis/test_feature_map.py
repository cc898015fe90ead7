"""Features in two dimensions."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from domain_masks.analysis.feature_map import feature_map, require_projection
from domain_masks.errors import InputError
from domain_masks.evaluation import samples_by_domain
from domain_masks.records import Predictions
from references.predictions import generated


def sampled() -> Predictions:
    return Predictions.concatenate(list(samples_by_domain(generated(per_split=10)).values()))


def features(images: Predictions) -> np.ndarray:
    random = np.random.default_rng(0)
    return (random.normal(size=(len(images), 6)) * [5, 3, 1, 1, 0.1, 0.1]).astype(np.float32)


def test_pca_is_that_of_a_singular_value_decomposition() -> None:
    images = sampled()
    values = features(images)
    found = feature_map(values, images, "pca", "layer4")
    centred = values.astype(np.float64) - values.mean(0, dtype=np.float64)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    for axis, got in enumerate((found.x, found.y)):
        expected = left[:, axis] * scale[axis]
        sign = np.sign(expected @ np.array(got))
        np.testing.assert_allclose(np.array(got) * sign, expected, rtol=2e-3, atol=1e-4)
    assert found.explained == pytest.approx((scale**2 / (scale**2).sum())[:2].tolist())
    assert (found.method, found.layer, found.size) == ("PCA", "layer4", 6)


def test_domains_and_classes_are_those_of_the_images() -> None:
    images = sampled()
    found = feature_map(features(images), images, "pca", "layer4")
    assert [found.domains[place] for place in found.domain] == [images.domain_names[d] for d in images.domains]
    assert [found.classes[place] for place in found.label] == [images.classes[label] for label in images.labels]
    assert feature_map(features(images), images, "pca", "layer4") == found


def test_too_little_and_what_is_not_finite_are_refused() -> None:
    images = sampled()
    with pytest.raises(InputError, match="at least 3 images with 2 features, got 2 with 6"):
        feature_map(features(images)[:2], images.rows(np.arange(2)), "pca", "layer4")
    broken = features(images)
    broken[0, 0] = np.nan
    with pytest.raises(InputError, match="NaN or infinity"):
        feature_map(broken, images, "pca", "layer4")


def test_a_missing_library_and_an_unknown_name_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"umap-learn.*domain-masks\[umap\].*--projection pca"):
        require_projection("umap")
    with pytest.raises(InputError, match="expected pca, umap or none, got 'tsne'"):
        require_projection("tsne")


@pytest.mark.slow
def test_umap_is_the_same_again() -> None:
    pytest.importorskip("umap", reason="umap-learn is not installed: the extra `umap`")
    images = sampled()
    found = feature_map(features(images), images, "umap", "layer4")
    assert found == feature_map(features(images), images, "umap", "layer4")
    assert (found.method, found.explained, len(found.x)) == ("UMAP", [], len(images))
