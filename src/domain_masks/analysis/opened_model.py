"""The model of a run, opened once for all parts of an analysis that need it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.data import Preprocessing
from domain_masks.methods.base import Method
from domain_masks.methods.saving import load_model
from domain_masks.records import RunFolder


@dataclass(frozen=True)
class OpenedModel:
    """A method in evaluation mode on a device, with the preprocessing of its images."""

    method: Method
    preprocessing: Preprocessing
    device: torch.device

    def prepared(self, batch: DomainBatch) -> DomainBatch:
        """Return a batch on the device with normalised images; raises ValueError without images."""
        moved = batch.to(self.device)
        if moved.images is None:
            raise ValueError("expected a batch with images, got none")
        return replace(moved, images=self.preprocessing.normalize(moved.images))

    def features(self, batch: DomainBatch) -> Tensor:
        """Return the boundary's input, (N, ...), for images (N, 3, S, S), uint8."""
        return self.method.boundary_features(self.prepared(batch))


def open_model(folder: RunFolder, device: torch.device) -> OpenedModel:
    """Return the model of a finished run; raises RunFolderError if it cannot be loaded."""
    method, card = load_model(folder.path)
    return OpenedModel(method.to(device).eval(), Preprocessing.from_dict(card.preprocessing or {}), device)
