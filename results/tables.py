"""Write the tables of docs/results/ from the CSV files beside this script, one row per run: ``python results/tables.py``.

A page has ``<!-- table: NAME -->`` and ``<!-- end -->``, between which the table of that name is written. With
``--collect RUNS FILE`` the rows of finished runs, as ``dmg report`` reads them, are written into such a CSV file first.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from domain_masks.methods import METHODS
from domain_masks.methods.method_registry import described
from domain_masks.report.runs.paper_numbers import accuracy_numbers

RESULTS = Path(__file__).parent
PAGES = RESULTS.parent / "docs" / "results"
COLUMNS = (
    "dataset",
    "backbone",
    "method",
    "setting",
    "held_out",
    "seed",
    "out_of_domain",
    "in_domain",
    "known_domain",
    "epochs_run",
    "best_epoch",
    "seconds_training",
)
_BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read(name: str) -> pd.DataFrame:
    """Return the runs of ``results/NAME.csv``, one row each."""
    return pd.read_csv(RESULTS / f"{name}.csv")


def percent(values: pd.Series) -> str:
    """Return mean and sample standard deviation of fractions, in percent; the mean alone of one value."""
    if len(values) < 2:
        return f"{100 * values.mean():.2f}"
    return f"{100 * values.mean():.2f} ± {100 * values.std():.2f}"


def accuracies(runs: pd.DataFrame, measure: str, by: str = "method") -> pd.DataFrame:
    """Return a row per method or setting: accuracy per held-out domain and overall, mean ± deviation over seeds, and the seeds.

    "overall" is the unweighted mean over held-out domains, computed per seed, of seeds with all of them.

    Raises ValueError where several runs belong to one cell of the table, such as those of several settings of a method.
    """
    domains = sorted(runs["held_out"].unique())
    rows = []
    for name in runs[by].unique():
        # Unlike pivot_table it refuses two runs for one cell instead of averaging them silently.
        table = runs[runs[by] == name].pivot(index="seed", columns="held_out", values=measure)
        whole = table.reindex(columns=domains).dropna()
        rows.append(
            {
                by: f"`{name}`" if by == "method" else name,
                **{domain: percent(table[domain].dropna()) if domain in table else "-" for domain in domains},
                "overall": percent(whole.mean(axis=1)) if len(whole) else "-",
                "seeds": len(whole),
                "_order": -whole.mean(axis=1).mean() if len(whole) else 0,
            }
        )
    return pd.DataFrame(rows).sort_values("_order", kind="stable").drop(columns="_order")


def methods_table(name: str) -> pd.DataFrame:
    """Return the methods of a file by out-of-domain accuracy, with their cost and the paper's numbers."""
    table = accuracies(read(name), "out_of_domain")
    names = [text.strip("`") for text in table["method"]]
    table["step"] = [described(name).cost or "-" for name in names]
    table["paper"] = [printed(name) for name in names]
    return table


def printed(method: str) -> str:
    """Return the paper's overall out-of-domain accuracies of a method on PACS, by backbone (Tables 2 and 6)."""
    by_backbone = {}
    for number in accuracy_numbers():
        is_it = number.method == method and number.dataset == "pacs" and number.target == "overall"
        if is_it and number.table in (2, 6) and number.optimizer in (None, "adam"):
            by_backbone[number.backbone] = f"{number.backbone} {100 * number.accuracy:.2f}"
    return ", ".join(by_backbone.values()) or "-"


def other_measure(name: str, measure: str) -> pd.DataFrame:
    """Return one measure of all methods in a file that have it."""
    runs = read(name)
    return accuracies(runs[runs[measure].notna()], measure)


def averaging_table(name: str, without: str, measure: str) -> pd.DataFrame:
    """Return a row per method and average of the weights; the runs without an average are those of the file ``without``."""
    runs = read(name)
    plain = read(without)
    plain = plain[plain["method"].isin(runs["method"])]
    table = accuracies(pd.concat([plain, runs]), measure, by="setting")
    return table.rename(columns={"setting": "method"})


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "pacs-frozen-methods": partial(methods_table, "pacs-frozen-methods"),
    "pacs-frozen-methods-in-domain": partial(other_measure, "pacs-frozen-methods", "in_domain"),
    "pacs-frozen-averaging": partial(averaging_table, "pacs-frozen-averaging", "pacs-frozen-methods", "out_of_domain"),
    "pacs-frozen-averaging-in-domain": partial(
        averaging_table, "pacs-frozen-averaging", "pacs-frozen-methods", "in_domain"
    ),
}
"""Name in a page -> the function that makes the table."""


def with_tables(text: str) -> str:
    """Return a page with all tables updated."""
    return _BLOCK.sub(lambda block: f"{block[1]}{markdown(TABLES[block[2]]())}\n{block[3]}", text)


def markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def collect_runs(folder: Path, file: Path) -> None:
    """Write a row of every finished run below ``folder``."""
    from domain_masks.records.collection import collect  # noqa: PLC0415
    from domain_masks.report import build_report  # noqa: PLC0415

    (runs,) = [table for table in build_report(collect([folder])).tables if table.name == "runs"]
    frame = runs.frame
    order = {name: place for place, name in enumerate(METHODS)}
    frame = frame.sort_values(
        ["method", "setting", "held_out", "seed"], key=lambda column: column.map(order).fillna(column)
    )
    frame.loc[:, list(COLUMNS)].to_csv(file, index=False, float_format="%.6g", lineterminator="\n")


def main() -> int:
    """Collect runs with ``--collect``, then write every page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--collect", nargs=2, metavar=("RUNS", "FILE"), help="write the CSV file of the runs below a folder"
    )
    options = parser.parse_args()
    if options.collect:
        collect_runs(Path(options.collect[0]), Path(options.collect[1]))
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(with_tables(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
