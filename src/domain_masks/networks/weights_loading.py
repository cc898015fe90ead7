"""Load state dicts into networks: with name prefixes, from older library versions, or with another head."""

from __future__ import annotations

import copy
import re
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from domain_masks.errors import InputError
from domain_masks.networks.signature import signature
from domain_masks.networks.weights_files import AROUND_MODULES, WRAPPERS, Say, below, without_wrappers
from domain_masks.records.counts import listed

_LISTED = 3
_DENSENETS_OLD = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)$")


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], head: str, source: str, say: Say | None = None
) -> None:
    """Load ``state`` into ``network``; only the layer ``head`` may differ in shape, and then keeps its initial weights.

    Names may have a prefix (``model.``, ``net.backbone.``), or be those of older versions of the network's library; disabled
    auxiliary outputs are ignored. Everything else must match exactly.

    - ``say``: called with a remark if there are several prefixes, or tensors outside the chosen one

    Raises InputError that counts and names the tensors that do not match; ``network`` is then unchanged.
    """
    named = _without_auxiliary(_named_as(network, state, head, source, say), network)
    first: list[str] | None = None
    for convert in (_as_they_are, _densenets_names, _timms_names):
        converted = convert(network, named)
        if converted is None:
            continue
        trial = copy.deepcopy(network)
        problems = _loaded(trial, converted, head)
        if not problems:
            if signature(trial) != signature(network):
                raise InputError(
                    f"weights {source!r} are of an older version of {type(network).__name__} with another architecture: "
                    "expected weights of the current version"
                )
            network.load_state_dict(trial.state_dict())
            return
        first = first or problems
    raise InputError(
        f"weights {source!r} are not those of a {type(network).__name__}: {'; '.join(first or [])}. "
        "Expected weights of the same architecture"
    )


def _loaded(network: nn.Module, state: Mapping[str, Tensor], head: str) -> list[str]:
    """Load the matching tensors; return a phrase each for missing, unknown and differently shaped ones, without the head."""
    own = network.state_dict()
    differs = [name for name in own if name in state and own[name].shape != state[name].shape]
    fitting: OrderedDict[str, Tensor] = OrderedDict(
        (name, value) for name, value in state.items() if name not in differs
    )
    fitting._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
    try:
        keys = network.load_state_dict(fitting, strict=False)
    except ValueError:
        # Some modules, such as torchvision's MNASNet, require version metadata, which .safetensors files do not have.
        fitting._metadata = own._metadata  # type: ignore[attr-defined]
        keys = network.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        return [" ".join(str(error).split())[:200]]
    ours = f"{head}."
    missing = [
        name
        for name in keys.missing_keys
        if not name.startswith(ours) and not name.endswith("num_batches_tracked") and name not in differs
    ]
    unexpected = [name for name in keys.unexpected_keys if not name.startswith(ours)]
    differs = [name for name in differs if not name.startswith(ours)]
    return [
        f"{len(names)} tensors {problem} ({', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''})"
        for names, problem in (
            (missing, "missing"),
            (unexpected, "unknown to the network"),
            (differs, "of another shape"),
        )
        if names
    ]


def _named_as(
    network: nn.Module, state: Mapping[str, Tensor], head: str, source: str, say: Say | None
) -> Mapping[str, Tensor]:
    """Return the tensors whose names are the network's own after a common prefix, without that prefix."""
    own = network.state_dict()
    parts = {part for name in own for part in name.split(".")}
    around = tuple(part for part in AROUND_MODULES if part not in parts)
    plain: OrderedDict[str, Tensor] = OrderedDict(
        (without_wrappers(name, around), value) for name, value in state.items()
    )
    if len(plain) < len(state):  # the same weights twice
        plain = OrderedDict(state)
    versions = getattr(state, "_metadata", None)
    if versions is not None:
        plain._metadata = {without_wrappers(name, around): entry for name, entry in versions.items()}  # type: ignore[attr-defined]
    counts = Counter(_fronts(plain, {name for name in own if not name.startswith(f"{head}.")} or set(own)))
    if not counts:
        return plain
    most = max(counts.values())
    # Averaged weights first, as with wrappers, then the shortest prefix.
    best = sorted((front for front in counts if counts[front] == most), key=lambda front: (_rank(front), len(front)))
    if len(best) > 1 and say is not None:
        named = listed([front or "its own names" for front in best])
        say(f"weights {source!r} hold the network under {named}: using the first")
    chosen = below(best[0], plain) if best[0] else plain
    others = [name for name in plain if best[0] and not name.startswith(best[0])]
    if others and len(best) == 1 and say is not None:
        shown = f"{', '.join(others[:_LISTED])}{', ...' if len(others) > _LISTED else ''}"
        say(f"weights {source!r}: using the tensors under {best[0]}, ignoring {len(others)} other tensors ({shown})")
    return chosen


def _fronts(state: Mapping[str, Tensor], own: set[str]) -> Iterator[str]:
    for name in state:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in own:
                yield ".".join([*parts[:start], ""]) if start else ""


def _rank(front: str) -> int:
    parts = front.split(".")
    plain = WRAPPERS.index("model") if not front else len(WRAPPERS)
    return min((WRAPPERS.index(part) for part in parts if part in WRAPPERS), default=plain)


def _without_auxiliary(state: Mapping[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Return ``state`` without the tensors of disabled parts of the network, such as GoogLeNet's auxiliary outputs."""
    off = tuple(f"{name}." for name in ("aux1", "aux2", "AuxLogits") if getattr(network, name, ...) is None)
    if not off:
        return state
    kept: OrderedDict[str, Tensor] = OrderedDict(
        (name, value) for name, value in state.items() if not name.startswith(off)
    )
    kept._metadata = getattr(state, "_metadata", None)  # type: ignore[attr-defined]
    return kept


def _as_they_are(_: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return state


def _densenets_names(network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
    """Return the state with the names that torchvision converts its published DenseNets to."""
    if type(network).__name__ != "DenseNet":
        return None
    return {_DENSENETS_OLD.sub(r"\1\2", name): value for name, value in state.items()}


def _timms_names(network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor] | None:
    """Return the state as timm converts files that a network's authors published."""
    module = type(network).__module__
    if module.partition(".")[0] != "timm":
        return None
    for name in ("checkpoint_filter_fn", "_checkpoint_filter_fn"):
        convert = getattr(sys.modules[module], name, None)
        if convert is not None:
            try:
                converted: Mapping[str, Tensor] = convert(dict(state), network)
            except Exception:  # the conversion supports the authors' own files only
                return None
            return converted
    return None
