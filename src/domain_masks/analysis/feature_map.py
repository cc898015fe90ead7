"""Features of images in two dimensions, to be seen by domain and by class."""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError
from domain_masks.records import Predictions
from domain_masks.records.explanations import FeatureMap

Projection = Literal["pca", "umap", "none"]
MOST_POINTS = 1000
_NEIGHBOURS = 15


def require_projection(projection: str) -> None:
    """Raise InputError for an unknown projection, and with the install command where UMAP's library is missing."""
    if projection not in ("pca", "umap", "none"):
        raise InputError(f"projection: expected pca, umap or none, got {projection!r}")
    if projection == "umap" and importlib.util.find_spec("umap") is None:
        raise InputError(
            "projection umap needs the library umap-learn: install the extra `umap` (pip install 'domain-masks[umap]'), or use "
            "--projection pca"
        )


def feature_map(
    features: NDArray[np.float32], images: Predictions, projection: Literal["pca", "umap"], layer: str
) -> FeatureMap:
    """Return the features of N images in two dimensions.

    - ``features``: (N, K); ``images``: N samples in the same order
    - ``projection``: ``pca``, the two directions of largest variance; ``umap``, which keeps neighbours (15) near, and whose
      axes and distances between groups mean nothing
    - ``layer``: the boundary's name

    Raises InputError for fewer than 3 images or 2 features, and for features that are not finite.
    """
    if min(len(features) - 1, features.shape[1]) < 2:
        raise InputError(
            f"expected at least 3 images with 2 features, got {features.shape[0]} with {features.shape[1]}"
        )
    if not np.isfinite(features).all():
        raise InputError("the features contain NaN or infinity")
    explained: list[float] = []
    if projection == "pca":
        from sklearn.decomposition import PCA  # noqa: PLC0415 - takes a second

        fitted = PCA(2, random_state=0)
        points = fitted.fit_transform(features.astype(np.float64))
        explained = [float(np.nan_to_num(value).clip(0, 1)) for value in fitted.explained_variance_ratio_]
    else:
        points = _umap(features)
    used = sorted(set(images.labels.tolist()))
    domains = [name for place, name in enumerate(images.domain_names) if (images.domains == place).any()]
    return FeatureMap(
        method=projection.upper(),
        layer=layer,
        size=features.shape[1],
        explained=explained,
        domains=domains,
        classes=[images.classes[label] for label in used],
        x=_rounded(points[:, 0]),
        y=_rounded(points[:, 1]),
        domain=[domains.index(images.domain_names[place]) for place in images.domains.tolist()],
        label=[used.index(label) for label in images.labels.tolist()],
    )


def _umap(features: NDArray[np.float32]) -> NDArray[Any]:
    import umap  # noqa: PLC0415 - an extra, and compiles for seconds

    neighbours = min(_NEIGHBOURS, len(features) - 1)
    # One thread: with a seed it is all that the library takes.
    points: NDArray[Any] = umap.UMAP(n_neighbors=neighbours, random_state=0, n_jobs=1).fit_transform(features)
    return points


def _rounded(values: NDArray[Any]) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]
