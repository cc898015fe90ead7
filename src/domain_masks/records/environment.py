"""The software and hardware that a run was made with."""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

SCHEMA = 1
DISTRIBUTION = "domain-masks"
_MAIN = ("torch", "torchvision", "timm", "lightning-fabric", "kornia", "numpy", "pandas", "pillow", "scikit-learn")
"""Dependencies whose versions are noted where this package is not installed, and nothing lists them."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def environment() -> dict[str, Any]:
    """Return the content of ``environment.json``: Python, platform, versions, devices, the command, the time (UTC).

    Versions are read from the metadata of installed packages, without importing them. Devices are listed only if torch is
    imported, as it is wherever something is trained.
    """
    return {
        "schema": SCHEMA,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "packages": versions(),
        "devices": devices(),
        "argv": list(sys.argv),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Return the versions of this package and of its installed dependencies."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a folder of sources
        requirements = [*_MAIN]
    named = [match.group() for line in requirements if (match := _NAME.match(line)) and not _for_developers(line)]
    versions = {}
    for name in dict.fromkeys([DISTRIBUTION, *named]):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def version() -> str | None:
    """Return this package's version; None where it is run from a folder of sources."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def devices() -> list[str]:
    """Return the names of the CUDA devices that torch sees; none if torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _for_developers(requirement: str) -> bool:
    return bool(re.search(r"extra\s*==\s*['\"]dev['\"]", requirement))
