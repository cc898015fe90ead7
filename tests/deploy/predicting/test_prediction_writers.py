import csv
import io
import json
import os
from pathlib import Path

import pytest

from domain_masks.deploy import Guess, Prediction, Unreadable
from domain_masks.deploy.predicting.prediction_writers import (
    FORMATS,
    CsvRows,
    Problems,
    cell,
    path_cell,
    problems_to_file,
    rows_to_file,
    rows_to_stream,
)
from domain_masks.errors import RunFolderError

ODD = [
    "a.png",
    'quo"te,.png',
    "new\nline.png",
    "ä ピ.png",
    os.fsdecode(b"latin-\xe4.png"),
    "tab\t.png",
    "carriage\r.png",
]
SOURCES = ("ink", "pa,per")


def prediction(name="a.png", class_name="dog", probability=0.75):
    votes = {"ink": Guess("cat", 0.5), "pa,per": Guess(class_name, 0.9)}
    return Prediction(name, (Guess(class_name, probability), Guess("cat", 0.25)), votes, "pa,per", 0.625)


def table(data):
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="surrogateescape", newline="")
    return list(csv.DictReader(text))


def written(path, predictions, top=2, sources=SOURCES):
    with rows_to_file(path, top, sources) as rows:
        for one in predictions:
            rows.add(one)
    return path.read_bytes()


def test_csv_has_a_column_for_everything(tmp_path):
    (row,) = table(written(tmp_path / "a.csv", [prediction()]))
    assert row == {
        "path": "a.png",
        "class": "dog",
        "probability": "0.750000",
        "class_2": "cat",
        "probability_2": "0.250000",
        "vote_ink": "cat",
        "vote_ink_probability": "0.500000",
        "vote_pa,per": "dog",
        "vote_pa,per_probability": "0.900000",
        "nearest_source": "pa,per",
        "nearest_weight": "0.625000",
        "nearest_accuracy": "",
    }


def test_paths_survive_in_every_format(tmp_path):
    predictions = [prediction(name) for name in ODD]
    assert [row["path"] for row in table(written(tmp_path / "a.csv", predictions))] == ODD
    assert [row["path"] for row in json.loads(written(tmp_path / "a.json", predictions))] == ODD
    lines = written(tmp_path / "a.jsonl", predictions).splitlines()
    assert [json.loads(line)["path"] for line in lines] == ODD
    assert b"latin-\xe4.png" in (tmp_path / "a.csv").read_bytes()


def test_json_is_what_the_prediction_says(tmp_path):
    for count in (0, 1, 3):
        rows = json.loads(written(tmp_path / "a.json", [prediction()] * count))
        assert rows == [prediction().to_dict()] * count
    assert written(tmp_path / "a.jsonl", []) == b""


def test_a_method_without_votes_has_no_columns_for_them(tmp_path):
    one = Prediction("a.png", (Guess("dog", 1.0),))
    (row,) = table(written(tmp_path / "a.csv", [one], top=1, sources=()))
    assert list(row) == ["path", "class", "probability"]


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@sum", "\tx", "\rx", "-1+cmd"])
def test_formulas_are_disarmed(text):
    assert cell(text) == f"'{text}"
    assert path_cell(text) == f"./{text}"


@pytest.mark.parametrize("text", ["-1", "+2.5", "-10 %"[:3], "dog", "1=1", "a@b", ""])
def test_numbers_and_plain_texts_stay(text):
    assert cell(text) == text


ONE = Prediction("a.png", (Guess("dog", 1.0),))


def interrupted():
    yield ONE
    raise KeyboardInterrupt


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        written(path, interrupted(), 1, ())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def rows_into(stream):
    with stream, rows_to_stream(stream, 1, ()) as rows:
        rows.add(ONE)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no full device")
def test_a_full_output_is_one_message():
    with pytest.raises(RunFolderError, match="standard output: No space left"):
        rows_into(os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0))


def test_a_reader_that_has_gone_is_left_to_the_command():
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        rows_into(os.fdopen(writing, "wb", buffering=0))


def test_problems_are_counted_written_and_shown_in_part(tmp_path):
    with problems_to_file(tmp_path / "bad.csv") as problems:
        for number in range(25):
            problems.add(Unreadable(f"{number}\n.png", "the file is empty"))
    rows = table((tmp_path / "bad.csv").read_bytes())
    assert [row["path"] for row in rows] == [f"{number}\n.png" for number in range(25)]
    assert {row["reason"] for row in rows} == {"the file is empty"}
    lines = list(problems.lines())
    assert lines[0] == "25 could not be read:"
    assert lines[1] == "  '0\\n.png': the file is empty"
    assert len(lines) == 22
    assert "5 more" in lines[-1]
    assert list(Problems(None).lines()) == []


def test_every_format_has_an_ending():
    assert set(FORMATS) == {".csv", ".json", ".jsonl"}
    assert FORMATS[".csv"] is CsvRows
