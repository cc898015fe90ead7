"""The losses of a search of the learning rate: a table and a figure in the run folder."""

from __future__ import annotations

import csv
import io

from domain_masks.records import RunFolder
from domain_masks.training.rate_search import RateSearch


def write_search(folder: RunFolder, search: RateSearch) -> None:
    """Write ``figures/learning_rate.csv`` and ``.png``: the smoothed loss at each rate, and the rate that was chosen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - half a second, for this figure alone
    from matplotlib.figure import Figure  # noqa: PLC0415

    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("lr", "loss"), *zip(search.rates, search.losses, strict=True)])
    with folder.figure("learning_rate.csv") as path:
        path.write_text(table.getvalue())
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.semilogx(search.rates, search.losses, color="tab:blue")
    axes.axvline(search.rate, color="tab:orange", label=f"chosen: {search.rate:g}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss, smoothed")
    axes.legend()
    with folder.figure("learning_rate.png") as path:
        figure.savefig(path, format="png", dpi=120)
