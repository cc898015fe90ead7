"""``search.json``: where a benchmark looked for settings, what it drew, and what source validation chose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from domain_masks.errors import RunFolderError
from domain_masks.records.files import check_schema, read_json, write_json
from domain_masks.records.validation import describe_mistakes

SCHEMA = 1
NAME = "search.json"


class Drawn(BaseModel):
    """One draw of a method: settings in place of the defaults, and how well each held-out domain's runs did on validation.

    - ``settings``: name -> value, a method's own as ``method.NAME``; empty for the defaults
    - ``validation``: held-out domains, joined by commas -> accuracy on the sources' validation images, a fraction; without
      those whose run has failed or is still to come
    """

    model_config = ConfigDict(strict=True)

    settings: Mapping[str, Any]
    validation: Mapping[str, float] = {}


class Searched(BaseModel):
    """The search of one method.

    - ``ranges``: setting -> where it is drawn from, in words
    - ``draws``: all of them; the first are the defaults
    - ``chosen``: held-out domains -> the index of the draw that was chosen
    """

    model_config = ConfigDict(strict=True)

    ranges: Mapping[str, str]
    draws: list[Drawn]
    chosen: Mapping[str, int] = {}


class SearchRecord(BaseModel):
    """The search of a benchmark.

    - ``seed``: of the draws, and of the runs that are chosen among
    - ``seeds``: with which what was chosen is run
    - ``rule``: what chose; ``methods``: by name
    """

    model_config = ConfigDict(strict=True)

    seed: int
    seeds: list[int]
    rule: str
    methods: Mapping[str, Searched]

    def write(self, out: Path) -> None:
        """Write ``search.json`` into the benchmark's folder, whole or not at all."""
        write_json(out / NAME, {"schema": SCHEMA, **self.model_dump(mode="json")})

    @classmethod
    def read(cls, out: Path) -> SearchRecord | None:
        """Return the search of the benchmark in ``out``; None where there was none.

        Raises RunFolderError for a file that describes none.
        """
        path = out / NAME
        if not path.is_file():
            return None
        content = read_json(path)
        check_schema(content.pop("schema", None), SCHEMA, path)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            wrong = "; ".join(describe_mistakes(error, list(cls.model_fields)))
            raise RunFolderError(
                f"{path} describes no search: {wrong}. Write it again with the same `dmg benchmark`"
            ) from error
