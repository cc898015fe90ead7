"""The losses of a search of the learning rate: a table and a figure in the run folder."""

from __future__ import annotations

import csv
import io

from domain_masks.records import RunFolder
from domain_masks.training.rate_search import RateSearch


def write_search(folder: RunFolder, search: RateSearch) -> None:
    """Write ``figures/learning_rate.csv`` and ``.png``: the loss at each rate, smoothed and of its batch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - half a second, for this figure alone
    from matplotlib.figure import Figure  # noqa: PLC0415

    table = io.StringIO()
    rows = zip(search.rates, search.smoothed, search.losses, strict=True)
    csv.writer(table, lineterminator="\n").writerows([("lr", "loss", "batch_loss"), *rows])
    with folder.figure("learning_rate.csv") as path:
        path.write_text(table.getvalue())
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.semilogx(search.rates, search.losses, color="tab:blue", alpha=0.3, linewidth=0.8, label="of a batch")
    axes.semilogx(search.rates, search.smoothed, color="tab:blue", label="smoothed")
    axes.axvline(search.rate, color="tab:orange", label=f"chosen: {search.rate:g}")
    # Where the loss has diverged, the fall before it would not be seen.
    margin = max(search.smoothed[0] - min(search.smoothed), 1e-6)
    axes.set_ylim(min(search.smoothed) - margin / 2, search.smoothed[0] + margin)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend()
    with folder.figure("learning_rate.png") as path:
        figure.savefig(path, format="png", dpi=120)
