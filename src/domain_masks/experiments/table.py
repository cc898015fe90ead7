"""The accuracies of a benchmark as one table: methods by held-out domain."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from domain_masks.evaluation import mean_and_standard_deviation
from domain_masks.records import Results

MEASURES = {"out_of_domain": "out of domain", "in_domain": "in domain", "known_domain": "known domain"}


def accuracy_table(results: Sequence[Results]) -> pd.DataFrame:
    """Return one row per run and measure.

    Columns: method, target (held-out domains joined by commas), seed, measure, split (the data behind the number), accuracy
    (fraction).
    """
    rows = []
    for result in results:
        for measure, title in MEASURES.items():
            accuracies = getattr(result, measure)
            if accuracies is not None:
                rows.append(
                    {
                        "method": result.method,
                        "target": ",".join(result.targets),
                        "seed": result.seed,
                        "measure": title,
                        "split": accuracies["split"],
                        "accuracy": accuracies["accuracy"],
                    }
                )
    return pd.DataFrame(rows, columns=["method", "target", "seed", "measure", "split", "accuracy"])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over seeds, as text in percent.

    One row per measure and method, one column per held-out domain, and ``overall``: the unweighted mean over the held-out
    domains per seed, of which mean and standard deviation over seeds are shown. With one seed no deviation is shown.
    """
    rows = []
    targets = list(dict.fromkeys(table["target"]))
    for (measure, method), group in table.groupby(["measure", "method"], sort=False):
        row = {"measure": f"{measure} ({', '.join(dict.fromkeys(group['split']))})", "method": method}
        for target in targets:
            row[target or "(none held out)"] = _text(group[group["target"] == target]["accuracy"].tolist())
        per_seed = group.pivot_table(index="seed", columns="target", values="accuracy")
        complete = per_seed.dropna()
        row["overall"] = _text(complete.mean(axis=1).tolist()) if len(complete.columns) == len(targets) else "-"
        rows.append(row)
    return pd.DataFrame(rows)


def _text(values: list[float]) -> str:
    if not values:
        return "-"
    mean, deviation = mean_and_standard_deviation([100 * value for value in values])
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"
