"""Write the tables of docs/results/ from the CSV files beside this script, one row per run: ``python results/tables.py``.

A page has ``<!-- table: NAME -->`` and ``<!-- end -->``, between which the table of that name is written. With
``--collect RUNS FILE`` the rows of finished runs are written into such a CSV file first, with ``--add RUNS FILE`` beside
those that it has.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from domain_masks.errors import DomainMasksError
from domain_masks.evaluation.by_mask import mask_by_domain
from domain_masks.evaluation.intervals import accuracy_interval, mean_and_standard_deviation
from domain_masks.experiments.run_index import keys_in
from domain_masks.methods import METHODS
from domain_masks.methods.method_registry import described
from domain_masks.methods.saving import read_masks
from domain_masks.methods.settings import method_defaults
from domain_masks.records import Predictions
from domain_masks.records.collection import RunRecord, collect
from domain_masks.records.config import RunConfig
from domain_masks.records.ensemble_names import KNOWN_DOMAIN
from domain_masks.records.files import read_json
from domain_masks.records.results import MEASURE_TITLES, held_out_name
from domain_masks.report.runs.naming import value_text
from domain_masks.report.runs.paper_numbers import accuracy_numbers

RESULTS = Path(__file__).parent
PAGES = RESULTS.parent / "docs" / "results"
PROTOCOL = ("size", "epochs", "precision", "freeze_features", "augmentation", "split_seed", "in_domain_test")
"""The settings of the protocol in a row. Runs of one table have the same but the epochs, which its settings then name."""
VARIED = ("lr_masks", "schedule_masks", "average", "recalibrate_bn")
"""The settings of runs that experiments vary, in the name of a setting where they are not the defaults."""
_OF_MASKS = ("iou/", "active/", "spread/")
_BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read(name: str) -> pd.DataFrame:
    """Return the runs of ``results/NAME.csv``, one row each."""
    return pd.read_csv(RESULTS / f"{name}.csv")


def with_usual(name: str, usual: str) -> pd.DataFrame:
    """Return the runs of a file and, to compare with, those of another one with its held-out domains and seeds.

    Of the other file those of the same methods, and of Aggregate.
    """
    runs, others = read(name), read(usual)
    chosen = ["method", "held_out", "seed"]
    wanted = pd.concat([runs[chosen], runs[chosen].assign(method="aggregate")]).drop_duplicates()
    return pd.concat([runs, others.merge(wanted, on=chosen)], ignore_index=True)


def decimals(value: float, sign: str = "") -> str:
    """Return a number with two decimals; rounded twice, as versions differ in the last bits of a mean, which decide a tie."""
    return f"{round(value, 9):{sign}.2f}"


def percent(values: pd.Series) -> str:
    """Return mean and sample standard deviation of fractions, in percent; the mean alone of one value."""
    if len(values) < 2:
        return decimals(100 * values.mean())
    return f"{decimals(100 * values.mean())} ± {decimals(100 * values.std())}"


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


def search_table(name: str, defaults: str) -> pd.DataFrame:
    """Return the methods of a search by out-of-domain accuracy with the settings chosen for each held-out domain.

    - ``defaults``: the file with the methods' runs at their defaults, whose overall accuracy is the last column
    """
    table = accuracies(read(name), "out_of_domain")
    usual = accuracies(read(defaults), "out_of_domain").set_index("method")["overall"]
    return table.assign(**{"overall, defaults": [usual[method] for method in table["method"]]})


def draws_table(name: str) -> pd.DataFrame:
    """Return the settings that a search sampled, and their accuracy on the sources' validation images; the chosen in bold."""
    draws = read(name)
    cells = [
        f"**{100 * accuracy:.2f}**" if chosen else f"{100 * accuracy:.2f}"
        for accuracy, chosen in zip(draws["validation"], draws["chosen"], strict=True)
    ]
    table = draws.assign(cell=cells, method=[f"`{method}`" for method in draws["method"]])
    order = [
        (f"`{method}`", settings) for method, settings in draws[["method", "settings"]].drop_duplicates().to_numpy()
    ]
    wide = table.pivot(index=["method", "settings"], columns="held_out", values="cell")
    return wide.reindex(order).reset_index().rename_axis(columns=None)


def by_setting(runs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return a row per setting: accuracy per held-out domain and overall; see :func:`accuracies` and :func:`labelled`."""
    runs = labelled(runs)
    return accuracies(runs[runs[measure].notna()], measure, by="setting")


def labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of one protocol; the setting of those with other epochs than most names them.

    Raises ValueError where other settings of the protocol differ: such accuracies are not comparable.
    """
    for name in ("dataset", "backbone", *PROTOCOL):
        if name != "epochs" and name in runs and runs[name].nunique(dropna=False) > 1:
            raise ValueError(f"expected runs of one protocol, got {name} {', '.join(map(str, runs[name].unique()))}")
    usual = runs["epochs"].mode()[0]
    return runs.assign(
        setting=[
            setting if epochs == usual else f"{setting}, {epochs} epochs"
            for setting, epochs in zip(runs["setting"], runs["epochs"], strict=True)
        ]
    )


def differences(
    runs: pd.DataFrame, measure: str = "out_of_domain", baseline: str = "aggregate", minus: str | None = None
) -> pd.DataFrame:
    """Return a row per setting: its accuracy minus that of ``baseline``, in points, paired by held-out domain and seed.

    Per held-out domain the mean over seeds; "overall" the mean over the pairs of seeds that have all domains, with Student's
    95 % interval over these pairs, and in how many the setting is higher. With ``minus`` each run's own other measure is
    subtracted instead of the baseline: ``differences(runs, "known_domain", minus="in_domain")``.

    Raises ValueError where several runs belong to one pair, or runs are of several protocols.
    """
    runs = labelled(runs)
    domains = sorted(runs["held_out"].unique())
    rows = []
    for setting in runs["setting"].unique():
        if setting == baseline and minus is None:
            continue
        table = paired_differences(runs, setting, measure, baseline, minus).reindex(columns=domains)
        if table.empty:
            continue
        whole = table.dropna()
        pairs = whole.to_numpy().ravel().tolist()
        rows.append(
            {
                "setting": setting,
                **{domain: points(table[domain].mean()) if table[domain].notna().any() else "-" for domain in domains},
                "overall": points(sum(pairs) / len(pairs)) if pairs else "-",
                "95 % interval": student_interval(pairs),
                "higher": f"{sum(value > 0 for value in pairs)} of {len(pairs)}",
                "seeds": len(whole),
            }
        )
    return pd.DataFrame(rows)


def paired_differences(
    runs: pd.DataFrame,
    setting: str,
    measure: str = "out_of_domain",
    baseline: str = "aggregate",
    minus: str | None = None,
) -> pd.DataFrame:
    """Return a row per seed and a column per held-out domain: a setting's accuracy minus the baseline's, as fractions.

    NaN where one of the two has no run. With ``minus`` the run's own other measure is subtracted.

    Raises ValueError where several runs belong to one pair.
    """
    cells = runs.pivot(index=["seed", "held_out"], columns="setting", values=[measure, *([minus] if minus else [])])
    other = cells[minus][setting] if minus else cells[measure][baseline]
    return (cells[measure][setting] - other).dropna().unstack("held_out")


def points(value: float) -> str:
    """Return a difference of fractions in percentage points, with its sign."""
    return decimals(100 * value, "+")


def student_interval(values: list[float], level: float = 0.95) -> str:
    """Return Student's interval of the mean of differences, in points; "-" for fewer than two."""
    half = student_half_width(values, level)
    if half is None:
        return "-"
    mean = sum(values) / len(values)
    return f"{points(mean - half)} to {points(mean + half)}"


def student_half_width(values: list[float], level: float = 0.95) -> float | None:
    """Return half the width of Student's interval of the mean, in the unit of the values; None for fewer than two."""
    from scipy.stats import t  # noqa: PLC0415 - takes seconds to import

    if len(values) < 2:
        return None
    _, deviation = mean_and_standard_deviation(values)
    return float(t.ppf((1 + level) / 2, len(values) - 1)) * (deviation or 0.0) / len(values) ** 0.5


def masks_by_setting(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per setting of runs with masks: IoU, share of active units and spread by site, known domain − ensemble.

    Means over held-out domains and seeds; the difference is that of the accuracies in domain, in points (paper: +1.2 to +2.2);
    ``own mask best`` is the share of sources on whose images no other mask alone is better.
    """
    runs = labelled(runs)
    columns = [name for name in runs if name.startswith(_OF_MASKS)]
    means = masks_of(runs)
    shown = {name: [decimals(value) if pd.notna(value) else "-" for value in means[name]] for name in columns}
    best = means["own_mask_best"] if "own_mask_best" in means else pd.Series(float("nan"), index=means.index)
    return pd.DataFrame(
        {
            "setting": list(means.index),
            **shown,
            "known − ensemble": [points(value) for value in means["gain"]],
            "own mask best": [decimals(value) if pd.notna(value) else "-" for value in best],
            "out of domain": [decimals(100 * value) for value in means["out_of_domain"]],
            "runs": means["runs"].tolist(),
        }
    )


def masks_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Return means over the runs of a setting that have masks: what :func:`row_of` says of them, and of accuracies.

    ``gain``: known domain − in domain, a fraction; ``runs``: how many there are.
    """
    runs = runs[runs["known_domain"].notna()]
    runs = runs.assign(gain=runs["known_domain"] - runs["in_domain"])
    columns = [
        name for name in runs.columns if str(name).startswith((*_OF_MASKS, "own_mask_best", "gain", "out_of_domain"))
    ]
    by = runs.groupby("setting", sort=False)
    return by[columns].mean().assign(runs=by.size())


def evidence_tables(name: str, usual: str | None = None) -> dict[str, Callable[[], pd.DataFrame]]:
    """Return the tables of an experiment on the masks: accuracies by setting, differences to Aggregate, and the masks.

    - ``usual``: the file with the runs that those of the experiment are compared with; None where it has them itself
    """

    def runs() -> pd.DataFrame:
        return read(name) if usual is None else with_usual(name, usual)

    return {
        name: lambda: by_setting(runs(), "out_of_domain"),
        f"{name}-in-domain": lambda: by_setting(runs(), "in_domain"),
        f"{name}-differences": lambda: differences(runs()),
        f"{name}-masks": lambda: masks_by_setting(runs()),
    }


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "pacs-frozen-methods": partial(methods_table, "pacs-frozen-methods"),
    "pacs-frozen-methods-in-domain": partial(other_measure, "pacs-frozen-methods", "in_domain"),
    "pacs-frozen-averaging": partial(averaging_table, "pacs-frozen-averaging", "pacs-frozen-methods", "out_of_domain"),
    "pacs-frozen-averaging-in-domain": partial(
        averaging_table, "pacs-frozen-averaging", "pacs-frozen-methods", "in_domain"
    ),
    "pacs-frozen-search": partial(search_table, "pacs-frozen-search", "pacs-frozen-methods"),
    "pacs-frozen-search-in-domain": partial(other_measure, "pacs-frozen-search", "in_domain"),
    "pacs-frozen-search-draws": partial(draws_table, "pacs-frozen-search-draws"),
    "pacs-frozen-metareg": lambda: by_setting(read("pacs-frozen-metareg"), "out_of_domain"),
    "pacs-frozen-metareg-in-domain": lambda: by_setting(read("pacs-frozen-metareg"), "in_domain"),
    "pacs-64px-image-methods": partial(methods_table, "pacs-64px-image-methods"),
    "pacs-64px-image-methods-in-domain": partial(other_measure, "pacs-64px-image-methods", "in_domain"),
    **evidence_tables("pacs-64px-end-to-end"),
    **evidence_tables("pacs-112px-end-to-end"),
    **evidence_tables("pacs-112px-50-epochs"),
    **evidence_tables("pacs-112px-masks-grid"),
    **evidence_tables("pacs-64px-averages-and-statistics", usual="pacs-64px-end-to-end"),
    **evidence_tables("pacs-112px-statistics", usual="pacs-112px-end-to-end"),
    **evidence_tables("pacs-112px-averages", usual="pacs-112px-end-to-end"),
    **evidence_tables("pacs-112px-averages-learned", usual="pacs-112px-end-to-end"),
    **evidence_tables("pacs-112px-ablations", usual="pacs-112px-end-to-end"),
    **evidence_tables("pacs-frozen-specialisation"),
    **evidence_tables("digits-recipe"),
    "digits-batch-norm": lambda: by_setting(read("digits-batch-norm"), "out_of_domain"),
    "digits-batch-norm-in-domain": lambda: by_setting(read("digits-batch-norm"), "in_domain"),
    "digits-batch-norm-3e-3": lambda: by_setting(read("digits-batch-norm-3e-3"), "out_of_domain"),
}
"""Name in a page -> the function that makes the table."""


def with_tables(text: str) -> str:
    """Return a page with all tables updated."""
    return _BLOCK.sub(lambda block: f"{block[1]}{markdown(TABLES[block[2]]())}\n{block[3]}", text)


def markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def row_of(record: RunRecord) -> dict[str, Any]:
    """Return the row of a finished run: key, settings, protocol, accuracies, masks, times and versions.

    ``setting`` is the method and those of its settings, and of :data:`VARIED`, that are not at their defaults. Of each mask
    site: ``iou/SITE`` and ``active/SITE`` of the hard masks, ``spread/SITE``, the standard deviation of the mask logits (0.29
    at the start). ``own_mask_best``: the share of sources on whose images no other mask alone is better (Table 4).
    """
    results, config, packages = record.results, record.config, {}
    with suppress(DomainMasksError):
        packages = read_json(record.folder.environment).get("packages", {})
    row: dict[str, Any] = {
        "key": next(keys_in(record.folder, ()), None),
        "dataset": results.dataset,
        "backbone": results.backbone,
        "method": results.method,
        "setting": setting_of(record),
        "held_out": held_out_name(results.targets),
        "seed": results.seed,
        **{name: config.get(name) for name in PROTOCOL},
        **{name: measured.accuracy for name in MEASURE_TITLES if (measured := getattr(results, name)) is not None},
        "epochs_run": results.epochs_run,
        "best_epoch": results.best_epoch,
        **{f"seconds_{name}": value for name, value in results.seconds.items()},
        **{name.replace("-", "_"): packages.get(name) for name in ("domain-masks", "torch", "torchvision")},
    }
    row["in_domain_test"] = row["in_domain_test"] or "official"
    if results.in_domain is not None:
        row["in_domain_split"] = results.in_domain.split
    if results.out_of_domain is not None:
        others = results.out_of_domain.by_ensemble
        row |= {f"out_of_domain_{name}": others[name] for name in ("masks", "weighted") if name in others}
    with suppress(DomainMasksError):
        row |= of_predictions(record.predictions())
    for site, masks in (results.masks or {}).items():
        row |= {f"iou/{site}": masks.overall_iou, f"active/{site}": masks.average_activated}
    with suppress(DomainMasksError):
        row |= {f"spread/{site}": float(logits.std()) for site, logits in read_masks(record.folder.path).items()}
    return row


def setting_of(record: RunRecord) -> str:
    """Return the method and its settings that are not at their defaults, such as "dmg, masks fixed, lr_masks 0.01"."""
    usual = method_defaults(record.results.method)
    changed = {name: value for name, value in record.method_settings.items() if value != usual.get(name, value)}
    defaults = RunConfig()
    changed |= {
        name: record.config[name]
        for name in VARIED
        if record.config.get(name, getattr(defaults, name)) != getattr(defaults, name)
    }
    return ", ".join([record.results.method, *(f"{name} {value_text(value)}" for name, value in changed.items())])


def of_predictions(predictions: Predictions) -> dict[str, float]:
    """Return the interval of the out-of-domain accuracy over images, and ``own_mask_best``."""
    row: dict[str, float] = {}
    held_out = predictions.select(split="held_out")
    if len(held_out):
        bounds = accuracy_interval(held_out)
        row |= {"out_of_domain_low": bounds.low, "out_of_domain_high": bounds.high}
    single = {
        name.removeprefix(KNOWN_DOMAIN): by
        for name, by in mask_by_domain(predictions).items()
        if name.startswith(KNOWN_DOMAIN)
    }
    if single:
        best = [
            by[source] >= max(other[source] for other in single.values())
            for source, by in single.items()
            if source in by
        ]
        row["own_mask_best"] = sum(best) / len(best)
    return row


def collect_runs(folder: Path, file: Path, add: bool = False) -> None:
    """Write a row of every finished run below ``folder``, see :func:`row_of`; with ``add`` beside the file's other rows."""
    frame = pd.DataFrame([row_of(record) for record in collect([folder]).runs])
    if add and file.exists():
        kept = pd.read_csv(file)
        if "key" in kept:  # files of the first runs have none
            kept = kept[~kept["key"].isin(frame["key"])]
        frame = pd.concat([kept, frame])
    order = {name: place for place, name in enumerate(METHODS)}
    frame = frame.sort_values(
        ["method", "setting", "held_out", "seed"],
        key=lambda column: column.map(order) if column.name == "method" else column,
    )
    frame.to_csv(file, index=False, float_format="%.6g", lineterminator="\n")


def main() -> int:
    """Collect runs with ``--collect``, then write every page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--collect", nargs=2, metavar=("RUNS", "FILE"), help="write the CSV file of the runs below a folder"
    )
    parser.add_argument(
        "--add", nargs=2, metavar=("RUNS", "FILE"), help="add runs of another folder or machine to a CSV file"
    )
    options = parser.parse_args()
    if options.collect:
        collect_runs(Path(options.collect[0]), Path(options.collect[1]))
    if options.add:
        collect_runs(Path(options.add[0]), Path(options.add[1]), add=True)
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(with_tables(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
