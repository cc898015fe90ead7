"""Load state dicts into networks: with name prefixes, of older versions of a library, with another head."""

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
    # Averaged ones first, as with wrappers; else the shortest.
    best = sorted((front for front in counts if counts[front] == most), key=lambda front: (_rank(front), len(front)))
    if len(best) > 1 and say is not None:
        named = listed([front or "its own names" for front in best])
        say(f"weights {source!r} hold the network under {named}: using the first")
    taken = below(best[0], plain) if best[0] else plain
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
    plain = WRAPPERS.index("model") if not front else len(WRAPPERS)
    return min((WRAPPERS.index(part) for part in parts if part in WRAPPERS), default=plain)


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
