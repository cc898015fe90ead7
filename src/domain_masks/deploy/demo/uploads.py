"""Many uploaded images, also in ZIP files, predicted within limits, with the rows that ``dmg predict`` writes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from PIL import Image

from domain_masks.data.decoding import problem_of
from domain_masks.data.folders import is_image_name
from domain_masks.data.image_files import UNREADABLE, open_image_file
from domain_masks.deploy.predicting.image_paths import Unreadable
from domain_masks.deploy.predicting.prediction import Prediction
from domain_masks.deploy.predicting.prediction_writers import CsvRows
from domain_masks.errors import InputError
from domain_masks.records.test_time import AtTestTime

if TYPE_CHECKING:
    from domain_masks.deploy.predicting.model import Model

MOST_IMAGES = 1000
MOST_BYTES = 64 * 2**20
"""Of one image, also unpacked from a ZIP file."""
_BATCH = 64


@dataclass(frozen=True)
class PredictedUploads:
    """The predictions of the readable images, in order, the others, and the CSV of ``dmg predict`` for them."""

    predictions: list[Prediction]
    unreadable: list[Unreadable]
    csv: bytes

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with ``image`` for ``path``, which gradio's client takes for a file to download."""
        return {
            "predictions": [_named(prediction.to_dict()) for prediction in self.predictions],
            "unreadable": [{"image": problem.name, "reason": problem.reason} for problem in self.unreadable],
        }


def _named(content: dict[str, Any]) -> dict[str, Any]:
    return {"image": content.pop("path"), **content}


def predict_uploads(
    model: Model, files: Sequence[Path], ensemble: str, top: int, test_time: AtTestTime | None = None
) -> PredictedUploads:
    """Predict uploaded images and the images in uploaded ZIP files; ``path`` of a row is the name that the visitor gave.

    - ``test_time``: views of each image; every row then names them

    Images are read one batch after the other, from a ZIP file into memory. Raises InputError for more than ``MOST_IMAGES``
    images, none at all, a broken ZIP file, and an unknown ensemble.
    """
    listed = [_listed(path, several=len(files) > 1) for path in files]
    count = sum(map(len, listed))
    if count > MOST_IMAGES:
        raise InputError(
            f"expected at most {MOST_IMAGES:,} images at once, got {count:,}: upload fewer, or use `dmg predict`"
        )
    if not count:
        raise InputError("expected images, or a ZIP file with images, got none")
    unreadable: list[Unreadable] = []
    images = (image for entries in listed for image in _opened(entries))
    most = min(top, len(model.classes))
    options: dict[str, Any] = {"batch": _BATCH, "unreadable": unreadable.append, "test_time": test_time}
    predictions = list(model.stream(images, ensemble=ensemble, top=most, **options))
    content = io.BytesIO()
    rows = CsvRows(content, most, model.sources if model.has_votes else (), test_time is not None)
    rows.begin()
    for prediction in predictions:
        rows.add(prediction)
    rows.end()
    return PredictedUploads(predictions, unreadable, content.getvalue())


@dataclass(frozen=True)
class _Entry:
    """An image: its name for the visitor, the uploaded file, and its name within that file if it is a ZIP file."""

    name: str
    file: Path
    member: str | None = None


def _listed(path: Path, several: bool) -> list[_Entry]:
    """Return the images of an uploaded file; raises InputError for a broken ZIP file."""
    if path.suffix.lower() != ".zip":
        return [_Entry(path.name, path)]
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info.filename for info in archive.infolist() if not info.is_dir() and _is_image(info.filename)]
    except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name!r} cannot be read as a ZIP file: {error}") from error
    return [_Entry(f"{path.name}/{member}" if several else member, path, member) for member in sorted(members)]


def _is_image(member: str) -> bool:
    parts = PurePosixPath(member).parts
    return is_image_name(parts[-1]) and not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _opened(entries: Sequence[_Entry]) -> Iterator[Image.Image | Unreadable]:
    for entry in entries:
        content: bytes | None = None
        try:
            if entry.member is not None:
                content = _unpacked(entry.file, entry.member)
            elif entry.file.stat().st_size > MOST_BYTES:
                raise InputError(_too_large())
            image = open_image_file(entry.file if content is None else io.BytesIO(content))
            image.filename = entry.name  # type: ignore[attr-defined]
            yield image
        except InputError as error:
            yield Unreadable(entry.name, str(error))
        except (*UNREADABLE, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            source = entry.file if entry.member is None else content
            yield Unreadable(entry.name, problem_of(error, source).reason)


def _unpacked(file: Path, member: str) -> bytes:
    with zipfile.ZipFile(file) as archive, archive.open(member) as opened:
        # The size that the archive claims may be wrong.
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(_too_large())
    return content


def _too_large() -> str:
    return f"larger than {MOST_BYTES // 2**20} MB"
