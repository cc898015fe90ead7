"""The settings of an exported file: format, ensemble and precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.records.run_folder import folder_name

Format = Literal["onnx", "pt2"]
FORMATS: tuple[Format, ...] = ("onnx", "pt2")
DEFAULT_OPSET = 18


@dataclass(frozen=True)
class ExportFormat:
    """The settings of an exported file.

    - ``format``: ``onnx``, or ``pt2`` for ``torch.export.load``
    - ``ensemble``: ``predictions``, ``masks``, ``known:DOMAIN``, or another that the method has
    - ``opset``: the ONNX opset
    - ``half``: compute in float16; inputs and outputs stay float32
    - ``preprocessing``: take decoded uint8 images of any size instead of normalised images
    - ``threshold``: remove neurons with a mask probability below it, in [0, 1]; None removes none
    """

    format: Format = "onnx"
    ensemble: str = PREDICTION_ENSEMBLE
    opset: int = DEFAULT_OPSET
    half: bool = False
    preprocessing: bool = False
    threshold: float | None = None

    @property
    def file_name(self) -> str:
        """The default file name for these settings."""
        parts = ["model", folder_name(self.ensemble.replace(":", "-"))]
        parts += [] if self.threshold is None else [f"pruned-{self.threshold:g}"]
        parts += ["half"] if self.half else []
        parts += ["bytes"] if self.preprocessing else []
        return f"{'-'.join(parts)}.{self.format}"
