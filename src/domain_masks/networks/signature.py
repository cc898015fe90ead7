"""A network's computation as text, without its tensors: the classes of its modules, their settings and their code.

Two networks with equal tensors and equal signatures compute the same function. Padding, strides, epsilons, activations, rates
and switches such as ``transform_input`` are attributes of modules, not part of a state dict.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

_NOT_COMPUTED = frozenset(
    {
        "training",
        "call_super_init",
        "dump_patches",
        "_is_full_backward_hook",
        "_version",
        # Metadata of pretrained weights.
        "pretrained_cfg",
        "default_cfg",
        "pretrained_model_args",
        "_traits",
        # SyncBatchNorm.
        "process_group",
    }
)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_OF_MODULES = frozenset(vars(nn.Module()))
_DEEPEST = 6


def signature(network: nn.Module, belongs: Callable[[str], bool] | None = None) -> dict[str, str]:
    """Return module name -> class, code and settings of every module of ``network``; ``""`` is the network itself.

    - ``belongs``: selects modules by name; default: all

    Values of tensors, the training mode, and the attributes in :data:`_NOT_COMPUTED` are left out. The result is equal in
    every process and on every device, including the meta device.
    """
    return {
        name: _description(module)
        for name, module in network.named_modules(remove_duplicate=False)
        if belongs is None or belongs(name)
    }


def signature_digest(network: nn.Module, belongs: Callable[[str], bool] | None = None) -> str:
    """Return a hash of :func:`signature` and of the versions of the libraries that the modules come from."""
    modules = (module for name, module in network.named_modules() if belongs is None or belongs(name))
    parts = [f"{name}\0{text}" for name, text in signature(network, belongs).items()]
    digest = hashlib.blake2b("\1".join([*_versions(modules), *parts]).encode(), digest_size=16)
    return digest.hexdigest()


def differing(first: nn.Module, second: nn.Module) -> list[str]:
    """Return the names of the modules that differ between two networks in class, code or settings; ``""`` is the network."""
    texts, other_texts = signature(first), signature(second)
    return [name for name in {**texts, **other_texts} if texts.get(name) != other_texts.get(name)]


def _versions(modules: Iterable[nn.Module]) -> Iterator[str]:
    packages = {type(module).__module__.partition(".")[0] for module in modules}
    for package in sorted({"torch", *packages}):
        try:
            yield f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue


def _description(module: nn.Module) -> str:
    kind = type(module)
    if kind in _BATCH_NORMS:
        # They differ only in the accepted shapes and in the synchronisation of statistics over processes.
        kind = nn.BatchNorm2d
    return f"{_qualified(kind)} {_code_of_class(kind)} {_settings(module, 0, ())}"


def _settings(module: nn.Module, depth: int, seen: tuple[int, ...]) -> str:
    """Return the settings of one module: its attributes, absent children and parameters, and hooks; no tensor values."""
    settings = {}
    for name, value in vars(module).items():
        if name in _NOT_COMPUTED or name in _OF_MODULES or _holds_tensors(value):
            continue
        settings[name] = _canonical(value, depth + 1, (*seen, id(module)))
    for registered in ("_parameters", "_modules", "_buffers"):
        for name, value in getattr(module, registered).items():
            if value is None:
                settings[name] = "None"
    for name in _HOOKS:
        if hooks := getattr(module, name):
            settings[name] = "; ".join(_canonical(hook, depth + 1, (*seen, id(module))) for hook in hooks.values())
    return ", ".join(f"{name}={text}" for name, text in sorted(settings.items()))


def _holds_tensors(value: Any) -> bool:
    """Return whether a value is a tensor or a collection of tensors, such as a cached table."""
    if isinstance(value, Tensor):
        return True
    if isinstance(value, Mapping):
        # Also an empty mapping: some networks use it as a cache that the forward pass fills.
        return not value or any(_holds_tensors(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_holds_tensors(item) for item in value)


def _canonical(value: Any, depth: int, seen: tuple[int, ...]) -> str:  # noqa: PLR0911
    """Return a text form of a value that is equal in every process."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, torch.dtype | torch.Size | torch.layout | torch.memory_format):
        return str(value)
    if isinstance(value, torch.device):
        return "device"
    if depth > _DEEPEST or id(value) in seen:
        return _qualified(type(value))
    inner = (*seen, id(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_canonical(value[key], depth + 1, inner)}" for key in value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_canonical(item, depth + 1, inner) for item in value) + "]"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(_canonical(item, depth + 1, inner) for item in value)) + "}"
    if isinstance(value, nn.Module):
        return f"{_qualified(type(value))}({_settings(value, depth, inner)})"
    return _object(value, depth, inner)


def _object(value: Any, depth: int, seen: tuple[int, ...]) -> str:  # noqa: PLR0911
    if isinstance(value, type):
        return f"{_qualified(value)} {_code_of_class(value)}"
    if isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
        return f"partial({', '.join(_canonical(part, depth + 1, seen) for part in parts)})"
    if inspect.ismethod(value):
        return f"method({_canonical(value.__func__, depth + 1, seen)})"
    if isinstance(value, types.FunctionType):
        cells = [_cell(cell) for cell in value.__closure__ or ()]
        held = [_canonical(item, depth + 1, seen) for item in (*cells, *(value.__defaults__ or ()))]
        return f"{value.__module__}.{value.__qualname__} {_code(value.__code__)}({', '.join(held)})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a NumPy scalar
        return repr(value.item())
    attributes = getattr(value, "__dict__", None)
    if not isinstance(attributes, dict):
        return _qualified(type(value))
    plain = {name: item for name, item in sorted(attributes.items()) if not _holds_tensors(item)}
    return f"{_qualified(type(value))}({_canonical(plain, depth + 1, seen)})"


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _qualified(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _code_of_class(kind: type) -> str:
    """Return a hash of the code of a class and its bases, except those of torch, which its version identifies."""
    if kind not in _CODES:
        _CODES[kind] = _read_code(kind)
    return _CODES[kind]


_CODES: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()


def _read_code(kind: type) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for base in kind.__mro__:
        if base is object or base.__module__.partition(".")[0] == "torch":
            continue
        for name, member in sorted(vars(base).items()):
            function = inspect.unwrap(getattr(member, "__func__", member)) if callable(member) else member
            function = getattr(function, "fget", function)
            if isinstance(function, types.FunctionType):
                digest.update(f"{name} {_code(function.__code__)}".encode())
            elif isinstance(function, bool | int | float | str):
                digest.update(f"{name} {function!r}".encode() if not name.startswith("__") else b"")
    return digest.hexdigest()


def _code(code: types.CodeType) -> str:
    """Return a hash of a function's instructions, names and constants, independent of its position in the file."""
    digest = hashlib.blake2b(code.co_code, digest_size=8)
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        digest.update(_code(constant).encode() if isinstance(constant, types.CodeType) else _constant(constant))
    return digest.hexdigest()


def _constant(value: Any) -> bytes:
    if isinstance(value, frozenset):
        return repr(sorted(map(repr, value))).encode()
    return repr(value).encode()
