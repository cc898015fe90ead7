"""Read files of weights without running code, and unwrap the state dicts of training loops' checkpoints."""

from __future__ import annotations

import argparse
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from domain_masks.errors import InputError
from domain_masks.records.counts import listed
from domain_masks.records.files import utf8_path

Say = Callable[[str], None]

WRAPPERS = (
    # Averaged weights first: if a file has them, its published accuracy is theirs.
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model",
    "params_ema",
    "ema",
    "teacher",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net_state_dict",
    "net",
    "params",
    "weights",
    "module",
    "backbone",
    "encoder",
    "student",
)
"""Keys under which checkpoints store state dicts, in order of precedence."""
AROUND_MODULES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module")
"""Names that torch.compile, FSDP, activation checkpointing and DataParallel insert into those of a network's modules."""
_COUNTER = "n_averaged"
"""Buffer of PyTorch's averaged models, which is not a weight."""
_OF_TRAINING = re.compile("optim|sched|scaler|grad|rng", re.IGNORECASE)


def read_weights(path: Path, say: Say | None = None) -> dict[str, Tensor]:
    """Read a state dict from .safetensors, or from .pth/.pt/.ckpt without running any code in it.

    A state dict is extracted from a checkpoint (``state_dict``, ``model``, ``net``, ``state_dict_ema``, ..., also nested);
    names that torch.compile, FSDP and DataParallel insert are removed; half precision is converted to float32.

    - ``say``: called with a remark if the file has several state dicts

    Raises InputError for a missing, truncated or unsupported file.
    """
    state = _unwrapped(_content(path), path, say)
    if not _is_state(state):
        raise InputError(f"weights {str(path)!r} hold no state dict: expected a mapping of names to tensors")
    read: OrderedDict[str, Tensor] = OrderedDict()
    for name, value in state.items():
        if name == _COUNTER:
            continue
        half = value.dtype in (torch.float16, torch.bfloat16)
        read[without_wrappers(str(name), AROUND_MODULES[:-1])] = value.float() if half else value
    # Modules recognise state dicts of older versions by it.
    versions = getattr(state, "_metadata", None)
    if isinstance(versions, Mapping):
        read._metadata = {  # type: ignore[attr-defined]
            without_wrappers(str(name), AROUND_MODULES[:-1]): dict(entry) for name, entry in versions.items()
        }
    if all(name.startswith("module.") for name in read):
        return below("module.", read)
    return read


def _content(path: Path) -> Any:
    if not path.is_file():
        raise InputError(
            f"weights {str(path)!r}: no such file. Expected 'imagenet', 'none', or a .safetensors or .pth file"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415

            with utf8_path(path) as readable:
                return load_file(readable)
        # Many training scripts store their arguments, plain values, with the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"weights {str(path)!r} are refused: the file is damaged or holds more than tensors, which could run code. "
            "Expected a plain state dict; save it again with torch.save(model.state_dict(), ...) or as .safetensors"
        ) from error
    except Exception as error:
        raise InputError(
            f"weights {str(path)!r} cannot be read ({type(error).__name__}: {error}): the file is truncated or of "
            "another format. Expected .safetensors, or .pth written by torch.save"
        ) from error


def _unwrapped(content: Any, path: Path, say: Say | None) -> Any:
    """Return the state dict in a possibly nested checkpoint; other content unchanged."""
    if not isinstance(content, Mapping) or _is_state(content):
        return content
    keys = [key for key in WRAPPERS if key in content and _is_state(_unwrapped(content[key], path, None))]
    if not keys:
        keys = [key for key in content if not _OF_TRAINING.search(str(key)) and _is_state(content[key])]
        if len(keys) > 1:
            raise InputError(
                f"weights {str(path)!r} hold several state dicts, {listed(list(map(str, keys)))}: expected one, or one under "
                "a usual name such as state_dict or model. Save the intended one in a separate file"
            )
    if not keys:
        return content
    if len(keys) > 1 and say is not None:
        say(f"weights {str(path)!r} hold {listed(keys)}: using {keys[0]}")
    return _unwrapped(content[keys[0]], path, say)


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    )


def without_wrappers(name: str, around: tuple[str, ...]) -> str:
    """Return the name of a tensor without the wrapper modules ``around``."""
    return ".".join(part for part in name.split(".") if part not in around)


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of ``state`` whose names begin with ``prefix``, without the prefix, and with its version metadata."""
    part: OrderedDict[str, Tensor] = OrderedDict(
        (name.removeprefix(prefix), value) for name, value in state.items() if name.startswith(prefix)
    )
    versions = getattr(state, "_metadata", None)
    if versions is not None:
        part._metadata = {  # type: ignore[attr-defined]
            name.removeprefix(prefix).removeprefix(prefix.rstrip(".")): entry
            for name, entry in versions.items()
            if f"{name}.".startswith(prefix)
        }
    return part
