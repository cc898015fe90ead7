"""Export a trained model to one file that runs without this package, and compare it with the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from domain_masks.data import Preprocessing
from domain_masks.deploy.exporting.classifier import Calibrated, Classifier, Deployable, classifier
from domain_masks.deploy.exporting.export_format import ExportFormat, Format
from domain_masks.deploy.exporting.formats import (
    INPUT,
    OUTPUT,
    check_format,
    in_one_line,
    runner,
    trace,
    write_onnx,
    write_pt2,
)
from domain_masks.deploy.exporting.parity import Parity, compare, require
from domain_masks.deploy.exporting.parity_images import ParityImages
from domain_masks.deploy.predicting.model import preprocessing_of
from domain_masks.errors import ParityError
from domain_masks.methods import Method
from domain_masks.records.environment import version
from domain_masks.records.files import writing
from domain_masks.records.model_card import ModelCard

DESCRIPTION_FORMAT = 1
TEMPERATURE = "temperature"
"""Key of the temperature by which a file's logits are divided; absent in files of models that are not calibrated."""
_RUNTIMES: dict[Format, str] = {"onnx": "onnxruntime", "pt2": "torch"}


@dataclass(frozen=True, repr=False)
class Exported:
    """An exported file: its path, content and comparison with the model.

    - ``changed``: how many of the compared images are classified differently after pruning; None without pruning
    """

    path: Path
    classifier: Classifier
    parity: Parity
    changed: int | None = None

    def __repr__(self) -> str:
        return f"Exported({self.path}, {self.path.stat().st_size / 1e6:.2f} MB; {self.parity})"


def export_model(
    method: Method, card: ModelCard, settings: ExportFormat, path: Path, parity_images: ParityImages
) -> Exported:
    """Export one ensemble of a model to ``path``, and keep the file if its logits on ``parity_images`` equal the model's.

    The logits of a calibrated model are divided by the ensemble's temperature: their softmax are its probabilities.

    - ``card``: the content of ``model.json``

    Raises InputError for an ensemble, opset or network that cannot be exported, ParityError (and leaves no file) if the file
    cannot be run or its logits differ, RunFolderError if it cannot be written.
    """
    check_format(settings.format)
    preprocessing = preprocessing_of(card)
    chosen = classifier(method, settings.ensemble, settings.threshold)
    description = describe(method, card, settings)
    reference = _calibrated(chosen.reference, description)
    with writing(path) as temporary:
        write(chosen, preprocessing, settings, temporary, description)
        try:
            run = runner(temporary, settings.format)
            parity = compare(run, reference, parity_images, preprocessing, settings.preprocessing, settings.half)
        except Exception as error:
            raise ParityError(
                f"{path} was not kept: {_RUNTIMES[settings.format]} cannot run it ({in_one_line(error)}). Try "
                "another --opset or --format, or leave out --half"
            ) from error
        require(parity, path, _RUNTIMES[settings.format])
    return Exported(path, chosen, parity, _changed_by_pruning(method, settings, chosen, parity_images, preprocessing))


def _changed_by_pruning(
    method: Method,
    settings: ExportFormat,
    chosen: Classifier,
    parity_images: ParityImages,
    preprocessing: Preprocessing,
) -> int | None:
    """Return how many images are classified differently by the pruned than by the unpruned ensemble."""
    if chosen.pruned is None:
        return None
    unpruned = classifier(method, settings.ensemble)
    images = preprocessing.normalize(torch.stack([image.prepared for image in parity_images.images]))
    with torch.inference_mode():
        return int((unpruned.network(images).argmax(1) != chosen.network(images).argmax(1)).sum())


def write(
    chosen: Classifier,
    preprocessing: Preprocessing,
    settings: ExportFormat,
    path: Path,
    description: Mapping[str, Any],
) -> None:
    """Write a classifier to a file without the parity check; the description's temperature, if any, divides its logits."""
    size = preprocessing.size
    deployable = Deployable(chosen.network, preprocessing if settings.preprocessing else None, settings.half)
    network = _calibrated(deployable, description)
    if settings.preprocessing:
        # Neither square nor of the model's size, so that no size is specialised.
        example = torch.zeros(2, 3, size + 3, size + 5, dtype=torch.uint8)
        dynamic = {0: "batch", 2: "height", 3: "width"}
    else:
        example, dynamic = torch.zeros(2, 3, size, size), {0: "batch"}
    program = trace(network, example, dynamic)
    if settings.format == "onnx":
        write_onnx(program, path, description, settings.opset, dynamic)
    else:
        write_pt2(program, path, description)


def _calibrated(network: nn.Module, description: Mapping[str, Any]) -> nn.Module:
    temperature = description.get(TEMPERATURE)
    return network if temperature is None else Calibrated(network, temperature)


def describe(method: Method, card: ModelCard, settings: ExportFormat) -> dict[str, Any]:
    """Return the description stored in a file: what is needed to use it, and its provenance."""
    size = preprocessing_of(card).size
    takes_bytes = settings.preprocessing
    described = {
        "format": DESCRIPTION_FORMAT,
        **({"version": installed} if (installed := version()) else {}),
        "classes": list(method.context.classes),
        "sources": list(method.context.sources),
        "targets": list(card.targets),
        "dataset": card.dataset,
        "ensemble": settings.ensemble,
        "method": {"name": method.name, **asdict(method.settings)},
        "backbone": card.backbone,
        "preprocessing": {**preprocessing_of(card).to_dict(), "inside": takes_bytes},
        "input": {
            "name": INPUT,
            "type": "uint8" if takes_bytes else "float32",
            "shape": ["batch", 3, "height", "width"] if takes_bytes else ["batch", 3, size, size],
            "values": "RGB, 0 to 255" if takes_bytes else "RGB, resized, divided by 255, minus mean, divided by std",
        },
        "output": {"name": OUTPUT, "type": "float32", "shape": ["batch", len(method.context.classes)]},
        TEMPERATURE: None if (fitted := card.temperatures.get(settings.ensemble)) is None else fitted.value,
        "precision": "float16" if settings.half else "float32",
        "pruned_below": settings.threshold,
    }
    return {key: value for key, value in described.items() if value is not None}
