"""``dmg data list``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from domain_masks.cli.flags import RUN_YAML, command_parser, read_command
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say, table_lines
from domain_masks.records.counts import counted
from domain_masks.settings.datasets import ListSettings


def parser() -> Parser:
    """Return the parser of ``dmg data list``."""
    return command_parser(
        "data list",
        "Lists the datasets that have a name; with a name, a folder domain/class/image or a manifest, counts its images per "
        "domain and class.",
        """
        dmg data list
        dmg data list pacs --root data
        dmg data list photos/
        dmg data list lesions.csv
        """,
        ListSettings,
        config=RUN_YAML,
    )


def main(arguments: Sequence[str]) -> int:
    """List the datasets, or the images of one per domain and class."""
    _, settings = read_command(parser(), arguments, ListSettings)

    from domain_masks.data.registry import DATASETS  # noqa: PLC0415

    if settings.dataset is None:
        width = max(map(len, DATASETS))
        for entry, record in DATASETS.items():
            say(f"{entry:<{width}}  {record.summary}")
        say(
            "\nAny folder domain/class/image, or a manifest (.csv, .tsv, .parquet with the columns path, label, domain), can "
            "be named by its path, and a dataset of Hugging Face's as hf:NAME."
        )
        return 0
    for line in _count_lines(settings.dataset, settings.root):
        say(line)
    return 0


def _count_lines(name: str, root: Path | None) -> list[str]:
    import pandas as pd  # noqa: PLC0415

    from domain_masks.data import load_dataset  # noqa: PLC0415

    dataset = load_dataset(name, root)
    table = pd.crosstab(
        pd.Categorical([dataset.domains[index] for index in dataset.domain_indices], list(dataset.domains)),
        pd.Categorical([dataset.classes[index] for index in dataset.labels], list(dataset.classes)),
        margins=True,
        margins_name="all",
        dropna=False,
    )
    table.index.name, table.columns.name = "domain", None
    sizes = (
        (len(dataset), "image", ""),
        (len(dataset.domains), "domain", ""),
        (len(dataset.classes), "class", "classes"),
    )
    lines = [f"{dataset.name}: {', '.join(counted(*size) for size in sizes)}"]
    lines += table_lines(table)
    if dataset.splits is not None:
        counts = pd.Series(dataset.splits).value_counts()
        lines.append("official splits: " + ", ".join(f"{split} {count}" for split, count in counts.items()))
    if dataset.groups is not None:
        lines.append(f"groups that are never divided: {pd.Series(dataset.groups).nunique()}")
    return [*lines, *(f"note: {note}" for note in dataset.notes)]
