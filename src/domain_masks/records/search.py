"""``search.json``: the ranges of a random search, its draws, and the ones that source validation selected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from domain_masks.records.json_record import JSONRecord, RecordPart

NAME = "search.json"


class Drawn(RecordPart):
    """One draw of a method: settings that replace the defaults, and the validation accuracy for each held-out domain.

    - ``settings``: name -> value, a method's own as ``method.NAME``; empty for the defaults
    - ``validation``: held-out domains, joined by commas -> accuracy on the sources' validation images, a fraction; without
      those whose run has failed or is pending
    """

    settings: Mapping[str, Any]
    validation: Mapping[str, float] = {}


class Searched(RecordPart):
    """The search of one method.

    - ``ranges``: setting -> its range, in words
    - ``draws``: all draws; the first has the defaults
    - ``chosen``: held-out domains -> the index of the selected draw
    """

    ranges: Mapping[str, str]
    draws: list[Drawn]
    chosen: Mapping[str, int] = {}


class SearchRecord(JSONRecord):
    """The search of a benchmark.

    - ``seed``: of the draws, and of the runs that the selection compares
    - ``seeds``: of the runs with the selected settings
    - ``rule``: the selection rule; ``methods``: by name
    """

    newest: ClassVar[int] = 1
    called: ClassVar[str] = "it describes no search"
    remedy: ClassVar[str] = "write it again with the same `dmg benchmark`"

    seed: int
    seeds: list[int]
    rule: str
    methods: Mapping[str, Searched]


def read_search(out: Path) -> SearchRecord | None:
    """Return the search of the benchmark in ``out``; None where there was none.

    Raises RunFolderError for a malformed file.
    """
    path = out / NAME
    return SearchRecord.read(path) if path.is_file() else None
