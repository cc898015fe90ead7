"""Finished runs that nobody trained: a plan's run folders, with accuracies of one's choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from domain_masks.experiments import PlannedRun
from domain_masks.records import Predictions, Results

COUNT = 100


def finish(planned: PlannedRun, known: Sequence[str], accuracy: Callable[[PlannedRun, str, str], float]) -> None:
    """Write the records of a finished run; ``accuracy`` says its share of right answers by run, split and domain."""
    held_out = tuple(planned.config.target or ())
    sources = tuple(name for name in known if name not in held_out)
    parts = [("validation", name) for name in sources] + [("held_out", name) for name in held_out]
    right = {part: round(COUNT * accuracy(planned, *part)) for part in parts}
    logits = np.zeros((COUNT * len(parts), 2), dtype=np.float32)
    for number, part in enumerate(parts):
        logits[number * COUNT : number * COUNT + right[part], 0] = 1
        logits[number * COUNT + right[part] : (number + 1) * COUNT, 1] = 1
    planned.config.write(planned.folder.config)
    Predictions(
        ids=np.array([f"{split}/{name}/{row}" for split, name in parts for row in range(COUNT)], dtype=np.str_),
        labels=np.zeros(len(logits), dtype=np.int64),
        domains=np.repeat([known.index(name) for _, name in parts], COUNT),
        domain_names=tuple(known),
        splits=np.repeat([split for split, _ in parts], COUNT),
        logits={"predictions": logits},
        classes=("right", "wrong"),
        sources=sources,
    ).save(planned.folder.predictions)

    def measured(split: str, title: str) -> dict[str, object]:
        shares = {name: right[kind, name] / COUNT for kind, name in parts if kind == split}
        return {"split": title, "accuracy": sum(shares.values()) / len(shares), "per_domain": shares}

    Results(
        dataset="generated",
        method=planned.config.method_name,
        backbone="small",
        sources=list(sources),
        targets=list(held_out),
        seed=planned.config.seed,
        epochs_run=1,
        protocol={"selection": "source-validation", "target_labels_used": False},
        out_of_domain=measured("held_out", "all"),  # type: ignore[arg-type]
        in_domain=measured("validation", "validation"),  # type: ignore[arg-type]
        seconds={"training": 10.0, "evaluation": 1.0},
    ).write(planned.folder.results)
