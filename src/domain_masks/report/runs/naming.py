"""Names of protocols, settings and files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any


def differing_settings(protocols: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the settings that differ between the protocols."""
    names = dict.fromkeys(name for protocol in protocols for name in protocol)
    return [name for name in names if len({json.dumps(p.get(name), default=str) for p in protocols}) > 1]


def title_of(protocol: Mapping[str, Any], differing: Sequence[str]) -> str:
    """Return a title for a protocol, including the settings that differ within the report."""
    return ", ".join(_words(protocol, differing))


def _words(protocol: Mapping[str, Any], differing: Sequence[str]) -> Iterator[str]:
    yield f"{protocol['dataset']}"
    yield f"{protocol['backbone']}"
    yield "features frozen" if protocol["freeze_features"] else "trained end to end"
    if protocol["size"] is not None:
        yield f"{protocol['size']} px"
    if protocol["epochs"] is not None:
        yield f"{protocol['epochs']} epoch{'s' if protocol['epochs'] != 1 else ''}"
    if protocol["in_domain_test"] is not None:
        yield f"in-domain test {protocol['in_domain_test']}"
    if protocol["held_out"] is not None:
        yield f"{protocol['held_out']} held out"
    if protocol["test_time"] is not None:
        yield f"test time: {protocol['test_time']}"
    if protocol["fast"]:
        yield "smoke run"
    mentioned = {
        "dataset",
        "backbone",
        "freeze_features",
        "size",
        "epochs",
        "in_domain_test",
        "held_out",
        "test_time",
        "fast",
    }
    for name in differing:
        if name not in mentioned and protocol[name] is not None:
            value = PurePath(str(protocol[name])).name if name == "weights" else protocol[name]
            yield f"{name} {value}"


def value_text(value: Any) -> str:
    """Return a setting as text."""
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def file_name(text: str) -> str:
    """Return text as part of a file name: ASCII letters and digits in lower case, joined by hyphens."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text.lower())
    return "-".join(part for part in plain.split("-") if part) or "runs"


def as_file_name(name: str) -> str:
    """Return a name, such as a domain's, as part of a file name; other characters than letters, digits, _ and - become -."""
    return "".join(letter if letter.isalnum() or letter in "_-" else "-" for letter in name) or "none"
