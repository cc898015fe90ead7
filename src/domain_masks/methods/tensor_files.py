"""Files of tensors, whose headers are checked before any tensor is read into memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from domain_masks.errors import InputError
from domain_masks.records.files import utf8_path

MOST_BYTES = 64_000_000
"""Maximum size of a tensor of open length, and of the tensors of an extra state, whose sizes are not known beforehand."""
HEADER_LIMIT = 100_000_000
"""Bytes that safetensors allows a header."""

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_STARTS = {b"PK\x03\x04": "a PyTorch checkpoint or another zip archive", b"\x80": "a pickle"}
_SHOWN = 3


@dataclass(frozen=True)
class TensorForm:
    """Type, as safetensors names it, and shape of a tensor; the length of an axis of length 0 depends on the data."""

    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> TensorForm:
        """Return the form of ``tensor``, which may be on the meta device."""
        return cls(_DTYPES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))

    @property
    def is_open(self) -> bool:
        """Whether the size depends on the data."""
        return 0 in self.shape

    def allows(self, form: TensorForm) -> bool:
        """Return whether a tensor with ``form`` fits: equal, except for the lengths of open axes, up to ``MOST_BYTES``."""
        if self == form:
            return True
        fits = len(self.shape) == len(form.shape) and all(map(_fits, self.shape, form.shape))
        return fits and self.dtype == form.dtype and form.bytes <= MOST_BYTES

    @property
    def bytes(self) -> int:
        """Size in bytes of a tensor of this form; the maximum size if it is open."""
        if self.is_open:
            return MOST_BYTES
        sizes = {name: torch.empty(0, dtype=dtype).element_size() for dtype, name in _DTYPES.items()}
        return sizes[self.dtype] * torch.Size(self.shape).numel()

    def __str__(self) -> str:
        lengths = ", ".join("any" if length == 0 else str(length) for length in self.shape)
        limit = f" of at most {MOST_BYTES:,} bytes" if self.is_open else ""
        return f"{self.dtype} [{lengths}]{limit}"


def _fits(expected: int, size: int) -> bool:
    return expected in (0, size)


def load_tensors(module: nn.Module, tensors: Mapping[str, Any], *, strict: bool = True, assign: bool = False) -> None:
    """Load ``tensors`` as a state dict of ``module``, with the version metadata that some modules require.

    Buffers with an axis of length 0 are resized to the shapes in ``tensors``.

    Raises what ``load_state_dict`` raises.
    """
    state = OrderedDict(tensors)
    state._metadata = getattr(tensors, "_metadata", None) or module.state_dict()._metadata  # type: ignore[attr-defined]
    _lengthen(module, state)
    module.load_state_dict(state, strict=strict, assign=assign)


def _lengthen(module: nn.Module, tensors: Mapping[str, Any]) -> None:
    for path, part in module.named_modules():
        for name, buffer in part._buffers.items():
            value = tensors.get(f"{path}.{name}" if path else name)
            if buffer is None or not isinstance(value, Tensor) or 0 not in buffer.shape:
                continue
            if TensorForm.of(buffer).allows(TensorForm.of(value)):
                part._buffers[name] = buffer.new_empty(value.shape)


def read_forms(path: Path) -> dict[str, TensorForm]:
    """Return name -> form of every tensor in a safetensors file, from its header alone.

    Raises InputError for a file that is missing, damaged or of another format, such as a pickle.
    """
    try:
        with utf8_path(path) as readable, safe_open(readable, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return {name: TensorForm(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except Exception as error:
        raise _unreadable(path, error) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a safetensors file; raises InputError like :func:`read_forms`."""
    try:
        with utf8_path(path) as readable:
            tensors: dict[str, Tensor] = load_file(readable)
    except Exception as error:
        raise _unreadable(path, error) from error
    return tensors


def check_forms(path: Path, expected: Mapping[str, TensorForm]) -> None:
    """Raise InputError that counts and names the tensors in ``path`` that differ from ``expected``."""
    got = read_forms(path)
    names = odd_forms(expected, got)
    if names:
        raise InputError(
            f"{path} does not fit model.json: {len(names)} tensors are missing, unexpected or of another shape or type "
            f"({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}). {_first(names[0], expected, got)}"
        )


def odd_forms(expected: Mapping[str, TensorForm], got: Mapping[str, TensorForm]) -> list[str]:
    """Return the sorted names of the tensors that differ from ``expected``."""
    same = {name for name in expected.keys() & got.keys() if expected[name].allows(got[name])}
    return sorted((expected.keys() | got.keys()) - same)


def require_finite(path: Path, tensors: Mapping[str, Tensor], but: Collection[str] = ()) -> None:
    """Raise InputError if ``tensors``, read from ``path``, contain NaN or infinity, except those named in ``but``."""
    for name, tensor in tensors.items():
        if name not in but and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"{path}: {name} contains NaN or infinite values, so the model cannot predict: train it again"
            )


def count_bytes(forms: Mapping[str, TensorForm]) -> int:
    """Return the maximum size in bytes of a file with these tensors, including its header."""
    return HEADER_LIMIT + sum(form.bytes for form in forms.values())


def _first(name: str, expected: Mapping[str, TensorForm], got: Mapping[str, TensorForm]) -> str:
    return f"{name}: expected {expected.get(name, 'no such tensor')}, got {got.get(name, 'none')}"


def _unreadable(path: Path, error: Exception) -> InputError:
    other_format = next(_kinds(path), None)
    if other_format is not None:
        return InputError(
            f"{path} is {other_format}, not safetensors: such a file can run code when it is read. Expected the "
            "model.safetensors of a run"
        )
    return InputError(
        f"{path} cannot be read ({type(error).__name__}: {error}): expected the weights beside model.json"
    )


def _kinds(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        return
    yield from (kind for beginning, kind in _STARTS.items() if start.startswith(beginning))
