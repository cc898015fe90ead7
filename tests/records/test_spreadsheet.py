import csv
import io

import pandas as pd
import pytest

from domain_masks.records.counts import counted
from domain_masks.records.spreadsheet import cell, path_cell, table_text
from domain_masks.report.tables.table import frame_text

FORMULAS = ["=1+2", "=cmd|' /C calc'!A0", "+x", "-x", "@sum", "\tx", "\rx"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_is_a_formula(text):
    assert cell(text) == f"'{text}"
    assert path_cell(text) == f"./{text}"
    (row,) = csv.reader(io.StringIO(table_text([[text, -1.5]]), newline=""))
    assert row == [f"'{text}", "-1.5"]
    frame = pd.DataFrame({text: [text], "n": [-1.5]})
    header, values = csv.reader(io.StringIO(frame_text(frame), newline=""))
    assert header == [f"'{text}", "n"]
    assert values == [f"'{text}", "-1.5"]


@pytest.mark.parametrize("text", ["-1", "+1.5", "-1,5", "50%", "a=b", "", "_amazon"])
def test_numbers_and_plain_names_stay(text):
    assert cell(text) == text


def test_missing_values_stay_empty_and_whole_numbers_whole():
    frame = pd.DataFrame({"name": ["a", None], "epoch": pd.array([9, None], dtype="Int64")})
    assert frame_text(frame).splitlines() == ["name,epoch", "a,9", ","]


def test_numbers_with_their_nouns():
    assert [counted(1, "run"), counted(0, "run"), counted(1204, "image")] == ["1 run", "0 runs", "1,204 images"]
    assert [counted(1, "class", "classes"), counted(2, "class", "classes")] == ["1 class", "2 classes"]
