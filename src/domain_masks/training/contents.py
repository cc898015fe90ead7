"""The division and the content of a run's images: kept in its checkpoint, compared before it is resumed or measured."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domain_masks.data import DomainSplits, ImageDataset, content_of
from domain_masks.data.dataset import Int64Array, fingerprint_of
from domain_masks.errors import RunFolderError
from domain_masks.records import RunFolder, write_json
from domain_masks.records.config import RunConfig
from domain_masks.records.files import read_json
from domain_masks.records.identity import CONTENT, INPUTS, inputs_noted, inputs_of
from domain_masks.training.initial_model import image_keys
from domain_masks.training.provenance import Provenance


def content_keys(dataset: ImageDataset) -> Tensor | None:
    """Return keys of each image's id and of its content, int64 (N, 2); None for a dataset that was not identified."""
    if dataset.contents is None:
        return None
    digests = [blake2b(row.tobytes(), digest_size=8).digest() for row in dataset.contents]
    contents = (np.frombuffer(b"".join(digests), dtype="<u8") >> 1).astype(np.int64)
    return torch.stack([image_keys(dataset.ids), torch.from_numpy(contents)], 1)


def division_of(splits: DomainSplits) -> str:
    """Return a hash of the sources' division into training and validation images; held-out labels are not used."""
    parts = (splits.train, splits.validation)
    return fingerprint_of([part.ids for part in parts], [part.labels for part in parts])


def compare_images(splits: DomainSplits, provenance: Provenance) -> list[str]:
    """Return a line for each change among the images of evaluation since the run was started; none without a change.

    ``provenance`` is that of the run's checkpoint. Raises RunFolderError where the sources are divided into other training
    and validation images, or these have another content.
    """
    if provenance.division not in (None, division_of(splits)):
        raise RunFolderError(
            f"the images of dataset {splits.dataset.name!r} are no longer those that the run was started with: its sources "
            "would be divided differently, and images that were trained on would be evaluated. Undo what was added, removed "
            "or renamed in the source domains, or start a new run in another folder (--out)"
        )
    return _compare_contents(splits, provenance)


def _compare_contents(splits: DomainSplits, provenance: Provenance) -> list[str]:
    before, now = provenance.contents, content_keys(splits.dataset)
    if now is None:
        return []
    if before is None:
        return [
            "note: a version that did not record what images hold started the run: whether they are the same is unknown"
        ]
    known = dict(before.tolist())
    ids, contents = now[:, 0].tolist(), now[:, 1].tolist()
    other = np.array([known.get(name, content) != content for name, content in zip(ids, contents, strict=True)])
    new = np.array([name not in known for name in ids])
    decisive = np.concatenate([splits.train.indices, splits.validation.indices])
    if other[decisive].any():
        raise RunFolderError(
            f"{_count(splits, decisive[other[decisive]], len(decisive), 'training and validation')} of dataset "
            f"{splits.dataset.name!r} no longer hold what they held when the run was started. Put them back, or start a new "
            "run in another folder (--out)"
        )
    lines = []
    for kind, subset in (("held-out", splits.held_out), ("test", splits.test)):
        rows = np.zeros(0, dtype=np.int64) if subset is None else subset.indices
        changed = rows[other[rows] | new[rows]]
        if len(changed):
            lines.append(
                f"note: {_count(splits, changed, len(rows), kind)} no longer hold what they held when the run was started, or "
                "are new: its accuracies are those on the images as they are now"
            )
    if gone := len(known.keys() - set(ids)):
        lines.append(f"note: {gone} images that were there when the run was started are gone, and not measured")
    return lines


def inputs_now(config: RunConfig, dataset: ImageDataset, noted: dict[str, Any] | None) -> dict[str, Any]:
    """Return the inputs of a new run; of a resumed one the ``noted`` ones, with the present content of its images.

    Training images are unchanged then, and others are evaluated as they are now; those of older versions stay unknown.
    """
    content = content_of(dataset)
    if noted is None:
        return inputs_of(config, dataset.domains, content)
    return noted | ({CONTENT: content} if CONTENT in noted else {})


def refuse_other_content(folder: RunFolder, content: str) -> None:
    """Raise RunFolderError where a finished run was trained or evaluated on other images than the dataset has now."""
    if (inputs_noted(folder) or {}).get(CONTENT, content) != content:
        raise RunFolderError(
            f"{folder.path} holds a finished run on other images: expected those that it was made of, which differ in content, "
            "names or labels. Name another folder with --out, or measure it again on these with `dmg evaluate`"
        )


def note_content(folder: RunFolder, content: str) -> None:
    """Record the images that a run has been evaluated on; its training images are the same, if they were recorded."""
    noted = inputs_noted(folder) or {}
    if noted.get(CONTENT, content) != content:
        write_json(folder.environment, read_json(folder.environment) | {INPUTS: noted | {CONTENT: content}})


def _count(splits: DomainSplits, rows: Int64Array, total: int, kind: str) -> str:
    return f"{len(rows)} of {total} {kind} images, such as {splits.dataset.ids[int(rows[0])]!r},"
