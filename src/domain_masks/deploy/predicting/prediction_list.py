"""The predictions for several images: a list that a notebook shows as a table."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain_masks.deploy.predicting.folder_labels import FolderLabels
from domain_masks.deploy.predicting.image_paths import Unreadable
from domain_masks.deploy.predicting.prediction import Prediction
from domain_masks.records.notebook_html import MOST_ROWS, html_block, html_image, html_lines, html_table

if TYPE_CHECKING:
    import pandas as pd

_SIDE = 64
"""Longest side in pixels of the images in a notebook's table."""


class PredictionList(list[Prediction]):
    """Predictions in the order of the images.

    - ``images``: how many images were predicted, also where the rows were written to ``out`` and are not here
    - ``unreadable``: the images that could not be read, with the reason
    - ``labels``: the comparison with the names of the images' folders; None if it was not asked for
    """

    def __init__(self, predictions: Iterable[Prediction] = (), out: Path | None = None) -> None:
        super().__init__(predictions)
        self.images = len(self)
        self.unreadable: list[Unreadable] = []
        self.labels: FolderLabels | None = None
        self.out = out

    def to_pandas(self) -> pd.DataFrame:
        """Return a row per image: path, class and probability, the vote of each source's mask, the nearest source."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame([_row(prediction) for prediction in self])

    def _repr_html_(self) -> str:
        rows = [_row(prediction) for prediction in self[:MOST_ROWS]]
        head = list(dict.fromkeys(name for row in rows for name in row))
        pictured = [_thumbnail(prediction.name) for prediction in self[:MOST_ROWS]]
        cells = [
            [image, *(f"{value:.3f}" if isinstance(value := row.get(name), float) else value for name in head)]
            for image, row in zip(pictured, rows, strict=True)
        ]
        more = [f"{len(self) - MOST_ROWS:,} more rows"] if len(self) > MOST_ROWS else []
        more += self.labels.lines() if self.labels is not None else []
        more += [f"written to {self.out}"] if self.out is not None else []
        more += [f"not read: {problem.name}: {problem.reason}" for problem in self.unreadable[:MOST_ROWS]]
        return html_block(f"{self.images:,} images predicted", html_table(["", *head], cells), html_lines(more))


def _thumbnail(name: str | None) -> str | None:
    """Return a small copy of a local image; None where there is none."""
    from PIL import Image  # noqa: PLC0415

    with suppress(Exception):  # any decoder's error: the table is complete without
        if name is not None:
            with Image.open(name) as image:
                small = image.convert("RGB")
            small.thumbnail((_SIDE, _SIDE))
            content = io.BytesIO()
            small.save(content, "png")
            return html_image(content.getvalue(), "png", Path(name).name)
    return None


def _row(prediction: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": prediction.name,
        "class": prediction.class_name,
        "probability": prediction.probability,
    }
    for source, vote in prediction.votes.items():
        row |= {f"vote of {source}": vote.class_name, f"probability by {source}": vote.probability}
    if prediction.nearest_source is not None:
        row["nearest source"] = prediction.nearest_source
    return row
