"""Image galleries: the images nearest to each source, and the most confident mistakes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from domain_masks.analysis.from_predictions import has_sources
from domain_masks.analysis.sampled_images import rows_of
from domain_masks.data import ImageDataset, to_rgb
from domain_masks.data.image_files import UNREADABLE
from domain_masks.evaluation import calibrated_logits, nearest_of, nearness
from domain_masks.evaluation.by_mask import confidences
from domain_masks.records import Predictions
from domain_masks.records.analysis import GalleryItem, ImageGallery, Vote
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, PREDICTION_ENSEMBLE
from domain_masks.records.measured_metrics import FittedTemperature

THUMBNAIL = 128  # pixels of the longer side
QUALITY = 80
NEAREST_ITEMS = 8
MISTAKE_ITEMS = 16


def galleries(
    parts: Mapping[str, Predictions],
    with_nearest: bool = True,
    temperatures: Mapping[str, FittedTemperature] | None = None,
) -> dict[str, ImageGallery]:
    """Return the galleries of every domain in ``parts`` (domain -> its predictions), without thumbnails.

    For each source the images nearest to it, nearest first, unless ``with_nearest`` is False; and the mistakes of the
    prediction ensemble, most confident first. Empty galleries are omitted.

    - ``temperatures``: of the ensembles of a calibrated model; they change probabilities, not which source is the nearest
    """
    result: dict[str, ImageGallery] = {}
    for domain, part in parts.items():
        if with_nearest and has_sources(part):
            result |= _nearest(domain, part, temperatures)
        wrong = part.of(PREDICTION_ENSEMBLE).argmax(axis=1) != part.labels
        confidence = confidences(calibrated_logits(part.of(PREDICTION_ENSEMBLE), PREDICTION_ENSEMBLE, temperatures))
        order = _most_confident(confidence, wrong, MISTAKE_ITEMS)
        if len(order):
            result[f"mistakes/{domain}"] = ImageGallery(
                title=f"{domain}: the most confident mistakes",
                kind="mistakes",
                domain=domain,
                items=_items(part, order, temperatures),
            )
    return result


def _nearest(
    domain: str, part: Predictions, temperatures: Mapping[str, FittedTemperature] | None
) -> dict[str, ImageGallery]:
    nearest, confidence = nearest_of(part), nearness(part)
    result: dict[str, ImageGallery] = {}
    for index, source in enumerate(part.sources):
        order = _most_confident(confidence[index], nearest == index, NEAREST_ITEMS)
        if len(order):
            result[f"nearest/{domain}/{source}"] = ImageGallery(
                title=f"{domain}: nearest to {source}",
                kind="nearest",
                domain=domain,
                source=source,
                items=_items(part, order, temperatures),
            )
    return result


def _most_confident(confidence: NDArray[np.float64], candidates: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    positions = np.flatnonzero(candidates)
    return positions[np.argsort(-confidence[positions], kind="stable")[:most]]


def _items(
    part: Predictions, order: NDArray[np.intp], temperatures: Mapping[str, FittedTemperature] | None
) -> list[GalleryItem]:
    chosen = part.rows(order)
    logits = calibrated_logits(chosen.of(PREDICTION_ENSEMBLE), PREDICTION_ENSEMBLE, temperatures)
    confidence = confidences(logits)
    own = {source: KNOWN_DOMAIN + source for source in chosen.sources} if has_sources(chosen) else {}
    votes = {source: calibrated_logits(chosen.of(name), name, temperatures) for source, name in own.items()}
    return [
        GalleryItem(
            id=name,
            label=chosen.classes[chosen.labels[row]],
            predicted=chosen.classes[logits[row].argmax()],
            confidence=_fraction(confidence[row]),
            votes={
                source: Vote(
                    class_name=chosen.classes[vote[row].argmax()], probability=_fraction(confidences(vote[row]))
                )
                for source, vote in votes.items()
            },
        )
        for row, name in enumerate(chosen.ids.tolist())
    ]


def _fraction(value: Any) -> float:
    return min(1.0, float(value))


def thumbnail(image: Image.Image, value_range: tuple[float, float] | None = None) -> bytes:
    """Return an opened image as upright WebP of at most ``THUMBNAIL`` pixels a side, without metadata.

    - ``value_range``: black and white of images deeper than 8 bits, as for the network; see :func:`to_rgb`
    """
    if image.format == "JPEG":
        image.draft(None, (2 * THUMBNAIL, 2 * THUMBNAIL))
    small = to_rgb(image, value_range)
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    # A new image without metadata, such as the location where it was taken.
    Image.frombytes("RGB", small.size, small.tobytes()).save(content, "WEBP", quality=QUALITY)
    return content.getvalue()


def thumbnails(
    dataset: ImageDataset, ids: Sequence[str], value_range: tuple[float, float] | None = None
) -> tuple[dict[str, bytes], list[str]]:
    """Return id -> thumbnail of the readable images, and the ids of the others."""
    readable, unreadable = {}, []
    for name, row in zip(ids, rows_of(dataset, ids).tolist(), strict=True):
        try:
            if row < 0:
                raise FileNotFoundError(name)
            with dataset.open_image(row) as image:
                readable[name] = thumbnail(image, value_range)
        except UNREADABLE:
            unreadable.append(name)
    return readable, unreadable


def thumbnail_name(image: str) -> str:
    """Return the name of an image's thumbnail file, a hash of its id."""
    return hashlib.blake2b(image.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest() + ".webp"
