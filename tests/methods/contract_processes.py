"""Short runs of methods on two processes, which start once for all of them.

Run as a script: ``contract_processes.py FOLDER METHOD...``; each run is left in the folder of its method's name.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from methods.contract_runs import trained

SETTINGS: dict[str, Any] = {"optimizer": "sgd", "lr": 0.02, "momentum": 0.0, "epochs": 3, "domain_classifier": False}
"""Plain SGD makes of a difference in the last bits one in the last bits."""


def main(folder: str, *methods: str) -> None:
    """Train each method on two processes, each of which runs this script; what goes wrong is left beside the folders."""
    for name in methods:
        try:
            trained(name, Path(folder) / name, devices=2, **SETTINGS)
        except Exception:  # the others are asked about too
            (Path(folder) / f"{name}.txt").write_text(traceback.format_exc(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
