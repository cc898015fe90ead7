"""Names of backbones, read from the libraries' sources, because importing torchvision and timm takes ten seconds."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from domain_masks.errors import InputError, unknown

OWN_NAMES = ("small",)
"""The networks of this package."""
LIBRARIES = ("torchvision", "timm")
_NAME = re.compile(r"\ndef (\w+)\(")


def check_backbone(name: str) -> None:
    """Raise InputError, with the nearest name, for a backbone that is not in this package, torchvision or timm.

    Names that cannot be checked from the sources, such as tags of timm's weights, are checked when the network is built.
    """
    library, _, plain = name.rpartition(":")
    if library not in ("", *LIBRARIES):
        raise unknown("library of backbones", library, LIBRARIES)
    own = own_names()
    torchvision = registered("torchvision")
    if not torchvision or (library == "" and plain in own) or (library != "timm" and plain in torchvision):
        return
    if library == "torchvision":
        if not is_mentioned("torchvision", plain):
            raise unknown("torchvision backbone", plain, torchvision)
        return
    timm = registered("timm")
    if timm and plain.partition(".")[0] not in timm and not is_mentioned("timm", plain.partition(".")[0]):
        if library == "" and "." in plain:
            raise unregistered(plain)
        others = [f"timm:{other}" for other in timm] if library == "timm" else []
        raise unknown("backbone", name, [*own, *torchvision, *others])


def unregistered(name: str) -> InputError:
    """Return the error for a network of a Python program that is not registered here, such as ``package.networks.Mine``."""
    return InputError(
        f"backbone {name!r} is not known here: it is a network of a Python program. There, set "
        f"domain_masks.networks.BACKBONES[{name!r}] to its class or function of the number of classes; on the command line, "
        "name a file that does so as --plugin FILE.py"
    )


def own_names() -> tuple[str, ...]:
    """Return the networks of this package, and those that a user has registered."""
    loaded = sys.modules.get("domain_masks.networks.backbones")
    return OWN_NAMES if loaded is None else tuple(loaded.BACKBONES)


@cache
def registered(library: str) -> tuple[str, ...]:
    """Return the names that a library's sources register, in alphabetical order; empty if its sources are not installed."""
    names = set()
    for text in _sources(library):
        for part in text.split("@register_model")[1:]:
            if (match := _NAME.search(part)) is not None:
                names.add(match[1])
    return tuple(sorted(names))


def is_mentioned(library: str, name: str) -> bool:
    """Return whether a name occurs in a library's sources, as deprecated names do."""
    word = re.compile(rf"\b{re.escape(name)}\b")
    return any(word.search(text) for text in _sources(library))


def _sources(library: str) -> Iterator[str]:
    spec = find_spec(library)
    for place in (spec.submodule_search_locations if spec is not None else None) or ():
        for path in sorted((Path(place) / "models").glob("*.py")):
            yield path.read_text(encoding="utf-8", errors="replace")
