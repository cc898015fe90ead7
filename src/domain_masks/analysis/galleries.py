"""Images that tell something: those most like each source, and the most confident mistakes."""

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
from domain_masks.evaluation import nearest_of, nearness, source_logits
from domain_masks.evaluation.by_mask import confidences
from domain_masks.records import Predictions
from domain_masks.records.analysis import GalleryItem, ImageGallery, Vote
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE

THUMBNAIL = 128  # pixels of the longer side
QUALITY = 80
NEAREST_ITEMS = 8
MISTAKE_ITEMS = 16


def galleries(parts: Mapping[str, Predictions], with_nearest: bool = True) -> dict[str, ImageGallery]:
    """Return the galleries of every domain in ``parts`` (domain -> its predictions), without thumbnails.

    For each source the images that are nearest to it, the nearest first, unless ``with_nearest`` is False; and the mistakes
    of the prediction ensemble, the most confident first. Galleries without images are left out.
    """
    found: dict[str, ImageGallery] = {}
    for domain, part in parts.items():
        if with_nearest and has_sources(part):
            found |= _nearest(domain, part)
        wrong = part.of(PREDICTION_ENSEMBLE).argmax(axis=1) != part.labels
        order = _most_confident(confidences(part.of(PREDICTION_ENSEMBLE)), wrong, MISTAKE_ITEMS)
        if len(order):
            found[f"mistakes/{domain}"] = ImageGallery(
                title=f"{domain}: the most confident mistakes",
                kind="mistakes",
                domain=domain,
                items=_items(part, order),
            )
    return found


def _nearest(domain: str, part: Predictions) -> dict[str, ImageGallery]:
    nearest, sure = nearest_of(part), nearness(part)
    found: dict[str, ImageGallery] = {}
    for index, source in enumerate(part.sources):
        order = _most_confident(sure[index], nearest == index, NEAREST_ITEMS)
        if len(order):
            found[f"nearest/{domain}/{source}"] = ImageGallery(
                title=f"{domain}: nearest to {source}",
                kind="nearest",
                domain=domain,
                source=source,
                items=_items(part, order),
            )
    return found


def _most_confident(sure: NDArray[np.float64], among: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    positions = np.flatnonzero(among)
    return positions[np.argsort(-sure[positions], kind="stable")[:most]]


def _items(part: Predictions, order: NDArray[np.intp]) -> list[GalleryItem]:
    chosen = part.rows(order)
    logits = chosen.of(PREDICTION_ENSEMBLE)
    sure = confidences(logits)
    votes = source_logits(chosen) if has_sources(chosen) else None
    return [
        GalleryItem(
            id=name,
            label=chosen.classes[chosen.labels[row]],
            predicted=chosen.classes[logits[row].argmax()],
            confidence=_fraction(sure[row]),
            votes={}
            if votes is None
            else {
                source: Vote(
                    class_name=chosen.classes[votes[index, row].argmax()],
                    probability=_fraction(confidences(votes[index, row])),
                )
                for index, source in enumerate(chosen.sources)
            },
        )
        for row, name in enumerate(chosen.ids.tolist())
    ]


def _fraction(value: Any) -> float:
    return min(1.0, float(value))


def thumbnail(image: Image.Image, value_range: tuple[float, float] | None = None) -> bytes:
    """Return an opened image as WebP of at most ``THUMBNAIL`` pixels a side, upright, without what its file knew.

    ``value_range``: black and white of images deeper than 8 bits, as the network saw them; see :func:`to_rgb`.
    """
    if image.format == "JPEG":
        image.draft(None, (2 * THUMBNAIL, 2 * THUMBNAIL))
    small = to_rgb(image, value_range)
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    # A new image: what was noted in the file, such as where it was taken, stays behind.
    Image.frombytes("RGB", small.size, small.tobytes()).save(content, "WEBP", quality=QUALITY)
    return content.getvalue()


def thumbnails(
    dataset: ImageDataset, ids: Sequence[str], value_range: tuple[float, float] | None = None
) -> tuple[dict[str, bytes], list[str]]:
    """Return id -> thumbnail of the images that are there and can be read, and the ids of the others."""
    found, lost = {}, []
    for name, row in zip(ids, rows_of(dataset, ids).tolist(), strict=True):
        try:
            if row < 0:
                raise FileNotFoundError(name)
            with dataset.open_image(row) as image:
                found[name] = thumbnail(image, value_range)
        except UNREADABLE:
            lost.append(name)
    return found, lost


def thumbnail_name(image: str) -> str:
    """Return the name of an image's thumbnail file, the same for the same id."""
    return hashlib.blake2b(image.encode("utf-8", "surrogateescape"), digest_size=10).hexdigest() + ".webp"
