"""A run of a method of :mod:`other_methods` on several processes.

Run as a script: ``several_processes.py FOLDER METHOD SETTINGS`` with SETTINGS as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import generated
from domain_masks.progress import ConsoleReporter
from domain_masks.training import run
from training import other_methods


def main(folder: str, method: str, settings: str) -> None:
    """Train, on as many processes as the settings say; each of them runs this script."""
    kinds = {kind.name: kind for kind in vars(other_methods).values() if hasattr(kind, "summary")}
    with other_methods.registered(kinds[method]):
        config = generated.config(method=method, **json.loads(settings))
        run(config, Path(folder), dataset=generated.dataset(10), reporter=ConsoleReporter(quiet=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
