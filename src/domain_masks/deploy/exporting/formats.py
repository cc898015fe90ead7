"""Write a module to an ONNX or PyTorch file with its description, and run such files."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from domain_masks.deploy.exporting.export_format import DEFAULT_OPSET, Format
from domain_masks.errors import InputError

INPUT, OUTPUT = "images", "logits"
DESCRIPTION = "domain_masks.json"
"""Name of the description among the extra files of a PyTorch file; ONNX metadata has one text per key."""
_NEEDED = ("onnx", "onnxscript", "onnxruntime")

Run = Callable[[Tensor], Tensor]


def check_format(name: str, opset: int | None = None) -> None:
    """Raise InputError unless files of this format and ONNX opset can be written and run here."""
    missing = [package for package in _NEEDED if find_spec(package) is None] if name == "onnx" else []
    if missing:
        raise InputError(
            f"cannot write ONNX without {', '.join(missing)}: install them with `pip install 'domain-masks[onnx]'`, or "
            "choose --format pt2"
        )
    if name == "onnx" and opset is not None:
        import onnx  # noqa: PLC0415

        newest = onnx.defs.onnx_opset_version()
        if not DEFAULT_OPSET <= opset <= newest:
            raise InputError(
                f"opset: expected {DEFAULT_OPSET} to {newest}, the newest supported by the installed onnx, got {opset}"
            )


def in_one_line(error: Exception) -> str:
    """Return the type and the first line of an error, since those of other libraries can span pages."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def trace(network: nn.Module, example: Tensor, dynamic: Mapping[int, str]) -> ExportedProgram:
    """Return ``network`` in evaluation mode as a torch.export program.

    - ``example``: the example input; dynamic sizes must not be 1, which torch.export specialises
    - ``dynamic``: dynamic axis -> name

    Raises InputError if torch.export cannot trace the network.
    """
    try:
        with _export_settings(), torch.no_grad():
            return torch.export.export(
                network.eval(), (example,), dynamic_shapes=({axis: Dim(name) for axis, name in dynamic.items()},)
            )
    except Exception as error:
        raise InputError(
            f"torch.export cannot trace the network ({in_one_line(error)}): expected a network whose forward "
            "does not depend on the values of its input"
        ) from error


def write_pt2(program: ExportedProgram, path: Path, description: Mapping[str, Any]) -> None:
    """Write ``program`` to a file for ``torch.export.load``."""
    with _export_settings():
        torch.export.save(program, path, extra_files={DESCRIPTION: json.dumps(description, ensure_ascii=False)})


def write_onnx(
    program: ExportedProgram, path: Path, description: Mapping[str, Any], opset: int, dynamic: Mapping[int, str]
) -> None:
    """Write ``program`` to one ONNX file with its description as metadata.

    Raises InputError if it cannot be written with this opset.
    """
    with _export_settings():
        try:
            written = torch.onnx.export(
                program, dynamo=True, input_names=[INPUT], output_names=[OUTPUT], opset_version=opset, verbose=False
            )
        except Exception as error:
            raise InputError(
                f"the network cannot be written as ONNX with opset {opset} ({in_one_line(error)}): try "
                f"--opset {DEFAULT_OPSET}, or --format pt2"
            ) from error
    if written is None:
        raise InputError("the network cannot be written as ONNX: choose --format pt2")
    model = written.model
    if model.opset_imports.get("") != opset:
        raise InputError(
            f"the network cannot be written as ONNX with opset {opset}: the exporter of this torch version writes opset "
            f"{model.opset_imports.get('')}. Try --opset {DEFAULT_OPSET}, or --format pt2"
        )
    _name_axes(model, dynamic)
    model.producer_name, model.producer_version = "domain-masks", str(description.get("version", ""))
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in description.items()}
    model.metadata_props.update(texts)
    written.save(path, external_data=False)


def _name_axes(model: Any, dynamic: Mapping[int, str]) -> None:
    """Give the dynamic axes their names instead of torch's symbols."""
    import onnx_ir  # noqa: PLC0415

    (inputs,), (outputs,) = model.graph.inputs, model.graph.outputs
    shape = list(inputs.shape)
    for axis, name in dynamic.items():
        shape[axis] = onnx_ir.SymbolicDim(name)
    inputs.shape = onnx_ir.Shape(shape)
    outputs.shape = onnx_ir.Shape([onnx_ir.SymbolicDim(dynamic[0]), *list(outputs.shape)[1:]])


def runner(path: Path, kind: Format) -> Run:
    """Load an exported file and return the function that runs it on the CPU: images -> logits."""
    if kind == "pt2":
        module = torch.export.load(path).module()

        def run_torch(images: Tensor) -> Tensor:
            with torch.no_grad():
                logits: Tensor = module(images)
            return logits

        return run_torch
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run_onnx(images: Tensor) -> Tensor:
        logits: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images.numpy()})[0]
        return torch.from_numpy(logits)

    return run_onnx


def read_description(path: Path, kind: Format) -> dict[str, Any]:
    """Return the description stored in an exported file."""
    if kind == "pt2":
        extra = {DESCRIPTION: ""}
        torch.export.load(path, extra_files=extra)
        description: dict[str, Any] = json.loads(extra[DESCRIPTION])
        return description
    import onnx  # noqa: PLC0415

    return {entry.key: json.loads(entry.value) for entry in onnx.load(path).metadata_props}


@contextmanager
def _export_settings() -> Iterator[None]:
    """Disable the fused attention kernels, which cannot be exported, and silence the exporters' logs and warnings."""
    fast = torch.backends.mha.get_fastpath_enabled()
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    torch.backends.mha.set_fastpath_enabled(False)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
