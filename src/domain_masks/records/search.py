"""``search.json``: where a benchmark looked for settings, what it drew, and what source validation chose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from domain_masks.records.json_record import JSONRecord, RecordPart

NAME = "search.json"


class Drawn(RecordPart):
    """One draw of a method: settings in place of the defaults, and how well each held-out domain's runs did on validation.

    - ``settings``: name -> value, a method's own as ``method.NAME``; empty for the defaults
    - ``validation``: held-out domains, joined by commas -> accuracy on the sources' validation images, a fraction; without
      those whose run has failed or is still to come
    """

    settings: Mapping[str, Any]
    validation: Mapping[str, float] = {}


class Searched(RecordPart):
    """The search of one method.

    - ``ranges``: setting -> where it is drawn from, in words
    - ``draws``: all of them; the first are the defaults
    - ``chosen``: held-out domains -> the index of the draw that was chosen
    """

    ranges: Mapping[str, str]
    draws: list[Drawn]
    chosen: Mapping[str, int] = {}


class SearchRecord(JSONRecord):
    """The search of a benchmark.

    - ``seed``: of the draws, and of the runs that are chosen among
    - ``seeds``: with which what was chosen is run
    - ``rule``: what chose; ``methods``: by name
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

    Raises RunFolderError for a file that describes none.
    """
    path = out / NAME
    return SearchRecord.read(path) if path.is_file() else None
