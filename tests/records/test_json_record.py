"""What all records share; each one's own fields are tested beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records.json_record import Count, Fraction, JSONRecord, RecordPart, Text


class Share(RecordPart):
    """A part."""

    name: Text
    value: Fraction
    count: Count | None = None


class Shares(JSONRecord):
    """A record."""

    newest: ClassVar[int] = 3
    called: ClassVar[str] = "these are no shares"
    remedy: ClassVar[str] = "write them again"

    shares: list[Share]
    notes: list[Text] = []  # noqa: RUF012 - pydantic copies it


CONTENT = {"schema": 3, "shares": [{"name": "art", "value": 0.5, "of": None}], "further": None}


def test_what_is_absent_stays_so_and_what_is_not_declared_is_kept(tmp_path: Path) -> None:
    record = Shares.from_dict(CONTENT)
    assert (record.shares[0].count, record.notes) == (None, [])
    record.write(tmp_path / "shares.json")
    assert json.loads((tmp_path / "shares.json").read_text()) == CONTENT
    assert Shares.read(tmp_path / "shares.json") == record


def test_null_is_not_absent_in_a_file() -> None:
    with pytest.raises(InputError, match=r"shares\[0\]\.count: expected a value, or no such key"):
        Shares.from_dict({"schema": 3, "shares": [{"name": "art", "value": 0.5, "count": None}]})
    assert Share(name="art", value=0.5, count=None).count is None


def test_a_name_that_is_no_utf8_is_kept(tmp_path: Path) -> None:
    record = Shares(shares=[Share(name="caf\udce9", value=1)], notes=[])
    record.write(tmp_path / "shares.json")
    assert Shares.read(tmp_path / "shares.json") == record


def test_scalars_of_numpy_are_numbers_of_python() -> None:
    share = Share(name="art", value=np.float32(0.5), count=np.int64(3))
    assert (type(share.value), type(share.count)) == (float, int)


@pytest.mark.parametrize("wrong", [True, "0.5", np.True_, np.float64("nan"), float("inf"), 1.5, -0.1, None])
def test_nothing_is_taken_for_a_fraction(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Share(name="art", value=wrong)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Shares.from_dict(CONTENT).notes = ["x"]


def test_of_many_mistakes_the_first_are_listed() -> None:
    with pytest.raises(InputError) as caught:
        Shares.from_dict({"schema": 3, "shares": [{"name": "x" * 900, "value": 2}] * 50, "notes": [3]})
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[0] == "these are no shares:"
    assert lines[1] == "- shares[0].value: input should be less than or equal to 1, got 2"
    assert lines[-1] == "- ... (31 more)"


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (4, "newer version.*schema 3 or older, got 4"),
        (True, "got True"),
        ("3", "got '3'"),
        (0, "got 0"),
        (None, "none"),
    ],
)
def test_a_schema_that_cannot_be_read_is_told_first(tmp_path: Path, schema: object, message: str) -> None:
    (tmp_path / "shares.json").write_text(json.dumps({"shares": 5} | ({} if schema is None else {"schema": schema})))
    with pytest.raises(RunFolderError, match=rf"shares\.json.*{message}"):
        Shares.read(tmp_path / "shares.json")
