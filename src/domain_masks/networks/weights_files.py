"""Files of weights: read without running code, taken out of what training loops wrap them in, compared, and loaded."""

from __future__ import annotations

import argparse
import copy
import pickle
import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError
from domain_masks.networks.signature import signature
from domain_masks.records.files import utf8_path

Say = Callable[[str], None]

_WRAPPERS = (
    # Averaged weights first: where a file holds them, they are the ones that were measured.
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
"""Keys under which state dicts are stored; of several the first one here is taken."""
_AROUND_MODULES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module")
"""Names that torch.compile, FSDP, activation checkpointing and DataParallel put between those of a network's modules."""
_LISTED = 3
_COUNTER = "n_averaged"
"""Stands among the names of PyTorch's averaged models."""
_OF_TRAINING = re.compile("optim|sched|scaler|grad|rng", re.IGNORECASE)
_DENSENETS_OLD = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


def read_weights(path: Path, say: Say | None = None) -> dict[str, Tensor]:
    """Read a state dict from .safetensors, or from .pth/.pt/.ckpt without running any code in it.

    A state dict is taken out of what it is wrapped in (``state_dict``, ``model``, ``net``, ``state_dict_ema``, ..., also one
    in another); what torch.compile, FSDP and DataParallel add to names is taken off; half precision becomes float32.

    - ``say``: is told which one is taken where there are several

    Raises InputError for a missing, truncated or foreign file.
    """
    state = _unwrapped(_content(path), path, say)
    if not _is_state(state):
        raise InputError(f"weights {str(path)!r} hold no state dict: expected a mapping of names to tensors")
    read: OrderedDict[str, Tensor] = OrderedDict()
    for name, value in state.items():
        if name == _COUNTER:
            continue
        half = value.dtype in (torch.float16, torch.bfloat16)
        read[_plain(str(name), _AROUND_MODULES[:-1])] = value.float() if half else value
    # By it a module tells state dicts of its older versions.
    versions = getattr(state, "_metadata", None)
    if isinstance(versions, Mapping):
        read._metadata = {  # type: ignore[attr-defined]
            _plain(str(name), _AROUND_MODULES[:-1]): dict(entry) for name, entry in versions.items()
        }
    if all(name.startswith("module.") for name in read):
        return _below("module.", read)
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
        # Many a training script stores its arguments, which hold nothing but values, beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"weights {str(path)!r} are refused: the file is damaged or holds more than tensors, which could run code. "
            "Expected a plain state dict; save it anew with torch.save(model.state_dict(), ...) or as .safetensors"
        ) from error
    except Exception as error:
        raise InputError(
            f"weights {str(path)!r} cannot be read ({type(error).__name__}: {error}): the file is truncated or of "
            "another format. Expected .safetensors, or .pth written by torch.save"
        ) from error


def _unwrapped(content: Any, path: Path, say: Say | None) -> Any:
    """Take a state dict out of the wrappers around it, one in another; any other content as it is."""
    if not isinstance(content, Mapping) or _is_state(content):
        return content
    found = [key for key in _WRAPPERS if key in content and _is_state(_unwrapped(content[key], path, None))]
    if not found:
        found = [key for key in content if not _OF_TRAINING.search(str(key)) and _is_state(content[key])]
        if len(found) > 1:
            raise InputError(
                f"weights {str(path)!r} hold several state dicts, {_and(list(map(str, found)))}: expected one, or one under "
                "a usual name such as state_dict or model. Save the one that is meant by itself"
            )
    if not found:
        return content
    if len(found) > 1 and say is not None:
        say(f"weights {str(path)!r} hold {_and(found)}: {found[0]} is taken")
    return _unwrapped(content[found[0]], path, say)


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    )


def _plain(name: str, around: tuple[str, ...]) -> str:
    return ".".join(part for part in name.split(".") if part not in around)


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the part of ``state`` whose names begin with ``prefix``, without it; also what it says of versions."""
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


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], head: str, source: str, say: Say | None = None
) -> None:
    """Load ``state`` into ``network``; only the layer ``head`` may differ in shape, and then keeps its new weights.

    Names may have more in front (``model.``, ``net.backbone.``), be those of older versions of the network's library, or
    be of auxiliary outputs that ``network`` has switched off. All else has to fit exactly.

    - ``say``: is told where there are several such fronts, and what outside of the one that is taken is left out

    Raises InputError that counts and names what does not fit; ``network`` is then as it was.
    """
    given = _without_auxiliary(_named_as(network, state, head, source, say), network)
    first: list[str] | None = None
    for convert in (_as_they_are, _densenets_names, _timms_names):
        converted = convert(network, given)
        if converted is None:
            continue
        trial = copy.deepcopy(network)
        problems = _loaded(trial, converted, head)
        if not problems:
            if signature(trial) != signature(network):
                raise InputError(
                    f"weights {source!r} are those of an older version of {type(network).__name__}, of another structure: "
                    "expected the weights of the present one"
                )
            network.load_state_dict(trial.state_dict())
            return
        first = first or problems
    raise InputError(
        f"weights {source!r} are not those of a {type(network).__name__}: {'; '.join(first or [])}. "
        "Expected the weights of the same architecture"
    )


def _loaded(network: nn.Module, state: Mapping[str, Tensor], head: str) -> list[str]:
    """Load what fits; return what is missing, unknown or of another shape besides the head, a phrase each."""
    own = network.state_dict()
    differs = [name for name in own if name in state and own[name].shape != state[name].shape]
    fitting: OrderedDict[str, Tensor] = OrderedDict(
        (name, value) for name, value in state.items() if name not in differs
    )
    fitting._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
    try:
        found = network.load_state_dict(fitting, strict=False)
    except ValueError:
        # A module that insists on being told its version, as torchvision's MNASNet does, and .safetensors do not say.
        fitting._metadata = own._metadata  # type: ignore[attr-defined]
        found = network.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        return [" ".join(str(error).split())[:200]]
    ours = f"{head}."
    missing = [
        name
        for name in found.missing_keys
        if not name.startswith(ours) and not name.endswith("num_batches_tracked") and name not in differs
    ]
    foreign = [name for name in found.unexpected_keys if not name.startswith(ours)]
    differs = [name for name in differs if not name.startswith(ours)]
    return [
        f"{len(names)} tensors {what} ({', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''})"
        for names, what in ((missing, "missing"), (foreign, "unknown to the network"), (differs, "of another shape"))
        if names
    ]


def _named_as(
    network: nn.Module, state: Mapping[str, Tensor], head: str, source: str, say: Say | None
) -> Mapping[str, Tensor]:
    """Return the tensors whose names are the network's own but for what stands in front of all of them, without it."""
    own = network.state_dict()
    parts = {part for name in own for part in name.split(".")}
    around = tuple(part for part in _AROUND_MODULES if part not in parts)
    plain: OrderedDict[str, Tensor] = OrderedDict((_plain(name, around), value) for name, value in state.items())
    if len(plain) < len(state):  # the same weights twice
        plain = OrderedDict(state)
    versions = getattr(state, "_metadata", None)
    if versions is not None:
        plain._metadata = {_plain(name, around): entry for name, entry in versions.items()}  # type: ignore[attr-defined]
    counts = Counter(_fronts(plain, {name for name in own if not name.startswith(f"{head}.")} or set(own)))
    if not counts:
        return plain
    most = max(counts.values())
    # Averaged ones first, as with wrappers; else the shortest.
    best = sorted((front for front in counts if counts[front] == most), key=lambda front: (_rank(front), len(front)))
    if len(best) > 1 and say is not None:
        named = _and([front or "its own names" for front in best])
        say(f"weights {source!r} hold the network under {named}: the first is taken")
    taken = _below(best[0], plain) if best[0] else plain
    others = [name for name in plain if best[0] and not name.startswith(best[0])]
    if others and len(best) == 1 and say is not None:
        shown = f"{', '.join(others[:_LISTED])}{', ...' if len(others) > _LISTED else ''}"
        say(
            f"weights {source!r}: taken is what stands under {best[0]}, left out are {len(others)} other tensors ({shown})"
        )
    return taken


def _fronts(state: Mapping[str, Tensor], own: set[str]) -> Iterator[str]:
    for name in state:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in own:
                yield ".".join([*parts[:start], ""]) if start else ""


def _rank(front: str) -> int:
    parts = front.split(".")
    plain = _WRAPPERS.index("model") if not front else len(_WRAPPERS)
    return min((_WRAPPERS.index(part) for part in parts if part in _WRAPPERS), default=plain)


def _without_auxiliary(state: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Leave out the tensors of parts that the network has switched off, such as GoogLeNet's auxiliary outputs."""
    off = tuple(f"{name}." for name in ("aux1", "aux2", "AuxLogits") if getattr(network, name, ...) is None)
    if not off:
        return state
    rest: OrderedDict[str, Tensor] = OrderedDict(
        (name, value) for name, value in state.items() if not name.startswith(off)
    )
    rest._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
    return rest


def _as_they_are(_: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return state


def _densenets_names(network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
    """Return the names that torchvision gives the tensors of its published DenseNets when it loads them itself."""
    if type(network).__name__ != "DenseNet":
        return None
    return {_DENSENETS_OLD.sub(r"\1\2", name): value for name, value in state.items()}


def _timms_names(network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
    """Return what timm makes of the published files of a network's authors when it loads them itself."""
    module = type(network).__module__
    if module.partition(".")[0] != "timm":
        return None
    for name in ("checkpoint_filter_fn", "_checkpoint_filter_fn"):
        convert = getattr(sys.modules[module], name, None)
        if convert is not None:
            try:
                converted: Mapping[str, Tensor] = convert(dict(state), network)
            except Exception:  # it is for the authors' own files alone
                return None
            return converted
    return None


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
