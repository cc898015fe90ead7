"""Tables of a hyper-parameter search: its ranges, the sampled settings, and which of them were chosen."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from domain_masks.records.search import SearchRecord
from domain_masks.report.document import Section
from domain_masks.report.tables.table import Cell, Column, Table, percent, text_cell


def searches_section(searches: Sequence[SearchRecord]) -> Section | None:
    """Return the section on the searches; None if there are none."""
    if not searches:
        return None
    return Section(
        "Search", "search", [table for place, search in enumerate(searches) for table in _tables(search, place)]
    )


def _tables(search: SearchRecord, place: int) -> list[Table]:
    # Used in file names; there is usually one search.
    name = "search" if place == 0 else f"search-{place + 1}"
    counts = {len(method.draws) for method in search.methods.values()}
    ranges = [
        [text_cell(method), text_cell(setting), text_cell(within)]
        for method, searched in search.methods.items()
        for setting, within in searched.ranges.items()
    ]
    note = (
        f"{' or '.join(map(str, sorted(counts)))} settings of each method, the first its defaults; sampled and run with seed "
        f"{search.seed}, the chosen one with {'seed' if len(search.seeds) == 1 else 'seeds'} "
        f"{', '.join(map(str, search.seeds))}. The ranges are part of each method's description."
    )
    titles = ("method", "setting", "sampled from")
    frame = pd.DataFrame([[cell.text for cell in row] for row in ranges], columns=["method", "setting", "range"])
    columns = [Column(title, is_number=False) for title in titles]
    return [Table(f"{name}-ranges", "Search ranges", columns, ranges, frame, [note]), _draws(search, name)]


def _draws(search: SearchRecord, name: str) -> Table:
    targets = list(
        dict.fromkeys(
            target for searched in search.methods.values() for draw in searched.draws for target in draw.validation
        )
    )
    rows, flat = [], []
    for method, searched in search.methods.items():
        for number, draw in enumerate(searched.draws):
            settings = ", ".join(f"{key.removeprefix('method.')} {value}" for key, value in draw.settings.items())
            cells: list[Cell] = [text_cell(method), Cell(str(number), number), text_cell(settings or "defaults")]
            for target in targets:
                chosen = searched.chosen.get(target) == number
                cell = percent(draw.validation.get(target))
                cells.append(Cell(f"{cell.text} chosen", cell.value) if chosen else cell)
                flat.append(
                    {
                        "method": method,
                        "draw": number,
                        "settings": settings,
                        "held_out": target,
                        "validation": draw.validation.get(target),
                        "chosen": chosen,
                    }
                )
            rows.append(cells)
    note = (
        f"Accuracy on the sources' validation images, %, by held-out domain; chosen by {search.rule}, without "
        "the held-out domain. A draw without a number failed, or repeats an earlier one."
    )
    columns = [Column("method", is_number=False), Column("draw"), Column("settings", is_number=False)]
    columns += [Column(target or "–") for target in targets]
    return Table(
        f"{name}-draws", "Sampled and chosen settings", columns, rows, pd.DataFrame(flat), [note], len(rows) > 12
    )
