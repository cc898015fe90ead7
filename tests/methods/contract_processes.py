"""Short runs on two processes, which are started once for all of them.

Run as a script: ``contract_processes.py FOLDER CASE...``; each run is left in the folder of its case's name.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from domain_masks.data import ImageDataset
from domain_masks.methods import METHODS
from domain_masks.training import run
from methods.contract_runs import QUIET, TARGET, config, toy_dataset
from training.connected import free_port, start, wait

SETTINGS: dict[str, Any] = {
    "optimizer": "sgd",
    "lr": 0.005,
    "momentum": 0.0,
    "epochs": 3,
    "batch": 25,
    "domain_classifier": False,
}
"""Plain SGD makes of a difference in the last bits one in the last bits, if its rate is so small that it crosses no kink of
ReLU or max pooling. Neither the batch nor its remainder can be halved."""


@dataclass(frozen=True)
class Case:
    """A run that one process and two carry out.

    - ``validation``: how many images of each source validate; None for a tenth, which is an odd number
    - ``off``: by how much weights may differ where it is not what is expected of the method; losses by ten times that
    """

    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    validation: int | None = None
    off: float | None = None


CASES = {
    **{name: Case(name) for name in METHODS if not METHODS[name].is_closed_form()},
    # Images move along a gradient that a difference in the last bits can carry over a kink: it then differs as a whole.
    "crossgrad": Case("crossgrad", {"epochs": 1}, off=5e-3),
    "two batches per update": Case("dmg", {"accumulate": 2}),
    "two batches per update, alternating optimisers": Case("dann", {"accumulate": 2}),
    # Rounded to 8 bits, an activation that differs in its last bit differs by 1/256.
    "bf16": Case("dmg", {"precision": "bf16"}, off=2e-3),
    "ema": Case("dmg", {"average": "ema"}),
    "swa": Case("multi_headed", {"average": "swa"}),
    "swad": Case("aggregate", {"average": "swad", "average_interval": 2}),
    "a sum over the images": Case("dmg", {"method": {"name": "dmg", "classification_reduction": "sum"}, "lr": 0.0005}),
    "class weights and clipping": Case("dmg", {"class_weights": "balanced", "clip": 0.5}),
    "frozen features": Case("dmg", {"freeze_features": True, "views": 2}),
    "balanced batches": Case("dmg", {"sampling": "balanced", "augmentation": "standard"}),
    "early stopping": Case("aggregate", {"patience": 1, "epochs": 6, "lr": 1e-7}),
    "a validation image per source": Case("mldg", validation=1),
    "a closed form": Case("dica"),
}
FEW = ("dmg", "metareg", "dann", "coral", "two batches per update, alternating optimisers", "swad")
FEW += ("a validation image per source", "early stopping")
"""Those of the default suite: all domains in each batch, phases, several optimisers, gathered losses, averages."""


def dataset(validation: int | None) -> ImageDataset:
    """Return the suite's images, ``validation`` of each source in an official list of validation images."""
    made = toy_dataset()
    if validation is None:
        return made
    splits = np.full(len(made.ids), "train", dtype="<U5")
    splits[::9] = "test"
    for index in range(len(made.domains)):
        splits[np.flatnonzero(made.domain_indices == index)[1 : validation + 1]] = "val"
    splits[made.domain_indices == made.domains.index(TARGET)] = "test"
    return replace(made, splits=splits)


def trained(name: str, out: Path) -> None:
    """Carry out a case, on as many processes as there are."""
    case = CASES[name]
    settings = config(case.method, **{**SETTINGS, **case.settings})
    run(settings, out, dataset=dataset(case.validation), reporter=QUIET)


def main(folder: str, *cases: str) -> None:
    """Carry out each case on two processes; what goes wrong is left beside the folders."""

    def work() -> int:
        for name in cases:
            try:
                trained(name, Path(folder) / name)
            except Exception:  # the others are asked about too
                (Path(folder) / f"{name}.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return 0

    port = free_port()
    children = [start(work, rank, processes=2, nodes=1, port=port) for rank in range(2)]
    sys.exit(max(map(wait, children)))


if __name__ == "__main__":
    main(*sys.argv[1:])
