"""``dmg predict`` as a user calls it."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domain_masks.cli import main
from domain_masks.cli.predict import parser
from domain_masks.data import load_digits_dataset
from domain_masks.records import Predictions
from domain_masks.settings.predict import PredictSettings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "--fast", "--device", "cpu", "--quiet", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def digits(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The held-out images that the run has predicted itself, as files."""
    root = tmp_path_factory.mktemp("digits")
    data, stored = load_digits_dataset(), Predictions.load(run / "predictions.npz").select("held_out")
    for name in stored.ids:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        data.open_image(data.ids.index(str(name))).save(root / name)
    return root


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def table(text: str | bytes) -> list[dict[str, str]]:
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return list(
        csv.DictReader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", errors="surrogateescape", newline=""))
    )


def command(*words: object) -> list[str]:
    return ["predict", *map(str, words), "--device", "cpu"]


def test_an_adaptation_is_marked_in_every_row(run: Path, digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, name in (
        (("--tta", "flips"), "tta flips"),
        (("--adapt", "tent"), "tent"),
        (("--adapt", "batch-norm"), "batch-norm"),
    ):
        assert main(command(run, digits, *flags, "--out", "votes.csv")) == 0
        assert f"test time: {name}: " in capsys.readouterr().err
        assert {row["test_time"] for row in table(Path("votes.csv").read_bytes())} == {name}
    assert main(command(run, digits, "--out", "plain.csv", "--quiet")) == 0
    assert "test_time" not in table(Path("plain.csv").read_bytes())[0]
    assert main(command(run, "-", "--adapt", "batch-norm")) == 2
    assert "reads the images twice" in capsys.readouterr().err


def test_labels_from_folders_give_the_accuracy_of_the_run(
    run: Path, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))["out_of_domain"]
    assert main(command(run, digits, "--labels", "folder", "--out", "votes.csv")) == 0
    said = capsys.readouterr().err
    assert f"labels from folders: {100 * results['accuracy']:.2f} % of {results['count']:,} images" in said
    assert all(part in said for part in ("by mask: ink ", "lowest: ", "most confused: "))
    assert main(command(run, next(digits.rglob("*.png")), "--quiet", "--out", "one.csv", "--labels", "folder")) == 0
    shutil.copy(next(digits.rglob("*.png")), "lone.png")
    assert main(command(run, "lone.png", "--labels", "folder")) == 2
    assert "labels: expected images in folders with the names of the model's classes" in capsys.readouterr().err


@pytest.mark.parametrize("ensemble", ["predictions", "masks", "known:paper"])
def test_rows_are_the_predictions_of_the_run(run: Path, digits: Path, ensemble: str) -> None:
    assert main(command(run, digits, "--ensemble", ensemble, "--out", "votes.csv", "--top", 2, "--quiet")) == 0
    stored = Predictions.load(run / "predictions.npz").select("held_out")
    rows = {row["path"]: row for row in table(Path("votes.csv").read_bytes())}
    assert len(rows) == len(stored) > 0

    def probabilities(name: str) -> np.ndarray:
        values = np.exp(stored.of(name).astype(np.float64))
        return values / values.sum(1, keepdims=True)

    chosen = probabilities(ensemble)
    for number, name in enumerate(stored.ids):
        row = rows[str(digits / name)]
        first, second = np.argsort(-chosen[number], kind="stable")[:2]
        assert (row["class"], row["class_2"]) == (stored.classes[first], stored.classes[second])
        assert float(row["probability"]) == pytest.approx(chosen[number, first], abs=2e-6)
        for source in stored.sources:
            own = probabilities(f"known:{source}")[number]
            assert row[f"vote_{source}"] == stored.classes[int(own.argmax())]
            assert float(row[f"vote_{source}_probability"]) == pytest.approx(own.max(), abs=2e-6)
        assert row["nearest_source"] in stored.sources


def test_rows_go_to_standard_output_and_everything_else_does_not(
    run: Path, digits: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(command(run, digits)) == 0
    captured = capfdbinary.readouterr()
    rows = table(captured.out)
    assert f"{len(rows)} images predicted".encode() in captured.err
    assert list(rows[0])[:3] == ["path", "class", "probability"]


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_json_holds_the_same(run: Path, digits: Path, ending: str) -> None:
    for name in (f"a.{ending}", "a.csv"):
        assert main(command(run, digits / "mosaic" / "3", "--out", name, "--quiet")) == 0
    text = Path(f"a.{ending}").read_text()
    found = json.loads(text) if ending == "json" else [json.loads(line) for line in text.splitlines()]
    rows = table(Path("a.csv").read_bytes())
    assert [one["path"] for one in found] == [row["path"] for row in rows]
    assert [one["votes"]["ink"]["class"] for one in found] == [row["vote_ink"] for row in rows]
    assert [len(one["top"]) for one in found] == [5] * len(rows)
    assert [one["nearest_source"]["domain"] for one in found] == [row["nearest_source"] for row in rows]


def test_unreadable_images_are_listed_and_all_others_predicted(
    run: Path, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(digits / "mosaic" / "3", "mixed")
    count = len(list(Path("mixed").iterdir()))
    good = next(Path("mixed").iterdir()).read_bytes()
    Path("mixed/cut.png").write_bytes(good[: len(good) // 2])
    Path("mixed/empty.png").touch()
    Path("mixed/page.jpg").write_text("<!DOCTYPE html>")
    os.mkfifo("mixed/pipe.png")
    words = command(run, "mixed", "gone.png", "none*.png", "--out", "a.csv", "--errors", "bad.csv")
    assert main(words) == 1
    captured = capsys.readouterr()
    assert len(table(Path("a.csv").read_bytes())) == count
    bad = {row["path"]: row["reason"] for row in table(Path("bad.csv").read_bytes())}
    assert bad == {
        "mixed/cut.png": "the file ends too early",
        "mixed/empty.png": "the file is empty",
        "mixed/page.jpg": "it is a web page",
        "mixed/pipe.png": "it is a device or a pipe, not a file",
        "gone.png": "there is no such file",
        "none*.png": "nothing matches this pattern",
    }
    assert "6 could not be read:" in captured.err
    assert all(f"'{path}': {reason}" in captured.err for path, reason in bad.items())
    assert f"{count} images predicted: a.csv" in captured.err


def test_nothing_but_unreadable_images_is_status_1(run: Path) -> None:
    Path("empty.png").touch()
    assert main(command(run, "empty.png", "--out", "a.json", "--quiet")) == 1
    assert json.loads(Path("a.json").read_text()) == []


ODD = [b"new\nline.png", b"latin-\xe4.png", "ä ピ.png".encode(), b"=cmd.png", b"quo\"te',.png", b" blank .png"]


@pytest.mark.parametrize("null", [False, True])
def test_paths_of_any_bytes_come_on_standard_input_and_survive(
    run: Path, digits: Path, monkeypatch: pytest.MonkeyPatch, null: bool
) -> None:
    names = ODD if null else [name for name in ODD if b"\n" not in name]
    image = next(digits.rglob("*.png"))
    for name in names:
        shutil.copy(image, os.fsdecode(name))
    content = (b"\0" if null else b"\n").join(names)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert main(command(run, "-", "--out", "a.csv", "--quiet", *(["-0"] if null else []))) == 0
    found = [os.fsencode(row["path"]) for row in table(Path("a.csv").read_bytes())]
    assert found == [b"./" + name if name.startswith(b"=") else name for name in names]
    assert all(Path(os.fsdecode(name)).is_file() for name in found)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert main(command(run, "-", "--out", "a.jsonl", "--quiet", *(["-0"] if null else []))) == 0
    lines = [json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]
    assert [os.fsencode(line["path"]) for line in lines] == names


def test_a_configuration_holds_the_settings_and_flags_win(run: Path, digits: Path) -> None:
    Path("a.yaml").write_text(
        json.dumps(
            {"model": str(run), "paths": [str(digits / "mosaic")], "top": 1, "out": "a.csv", "ensemble": "masks"}
        )
    )
    assert main(["predict", "--config", "a.yaml", "--top", "3", "--quiet"]) == 0
    assert "class_3" in Path("a.csv").read_text().splitlines()[0]
    flags = {action.dest for action in parser()._actions} - {"help", "config", "quiet", "verbose", "plugin"}
    assert flags == set(PredictSettings.model_fields)


def test_several_mistakes_are_one_message(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), "--topp", "3", "--batch", "0", "--out", "a.txt", "--workers", "x"]) == 2
    error = capsys.readouterr().err
    assert "5 settings are wrong" in error
    for words in (
        "--topp",
        "did you mean --top?",
        "batch: ",
        "out: expected a file name that ends in .csv",
        "workers: ",
        "images: ",
    ):
        assert words in error


def test_the_file_is_whole_or_not_there(run: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.csv").write_text("before")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("domain_masks.deploy.predicting.prediction_writers.CsvRows.add", interrupted)
    assert main(command(run, digits, "--out", "a.csv", "--quiet")) == 130
    assert Path("a.csv").read_text() == "before"
    assert [path.name for path in Path().iterdir()] == ["a.csv"]


def on_a_terminal(words: list[str]) -> str:
    """Return what a command shows on a terminal that is both its outputs."""
    own, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "domain_masks", *words], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(own, 1 << 16):
            shown += piece
    except OSError:  # Linux ends a terminal so
        pass
    assert process.wait(60) == 0
    os.close(own)
    return shown.decode()


def test_a_terminal_gets_a_table_and_no_control_characters_of_names(run: Path, digits: Path) -> None:
    shutil.copy(next(digits.rglob("*.png")), "\x1b[31mred.png")
    lines = on_a_terminal(command(run, ".")).splitlines()
    head = next(number for number, line in enumerate(lines) if line.split()[:2] == ["prob.", "class"])
    assert lines[head].split() == ["prob.", "class", "ink", "paper", "outline", "nearest", "image"]
    assert lines[head + 1].endswith("./\\x1b[31mred.png")
    assert "\x1b" not in "".join(lines)


def test_a_terminal_shows_as_many_classes_as_are_asked_for(run: Path, digits: Path) -> None:
    image = next(digits.rglob("*.png"))
    lines = on_a_terminal(command(run, image, "--top", 3)).splitlines()
    head = next(number for number, line in enumerate(lines) if "prob." in line)
    assert re.split(r"  +", lines[head].strip())[:6] == ["prob.", "class", "prob.", "class 2", "prob.", "class 3"]
    assert main(command(run, image, "--top", 3, "--out", "a.csv", "--quiet")) == 0
    (row,) = table(Path("a.csv").read_bytes())
    shown = re.split(r"  +", lines[head + 1].strip())
    assert shown[1:6:2] == [row["class"], row["class_2"], row["class_3"]]
    assert shown[0:6:2] == [f"{100 * float(row[name]):.1f} %" for name in PROBABILITIES]
    assert shown[-1].endswith(image.name)


PROBABILITIES = ("probability", "probability_2", "probability_3")


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["missing/"], ["'missing/': there is no such file or folder"]),
        (["missing", "b*"], ["'missing'", "'b*': nothing matches this pattern"]),
        (["empty"], ["'empty': a folder without images"]),
        (["-", "-"], ["named twice"]),
    ],
)
def test_nothing_to_predict_is_misuse_and_known_before_the_model_is_loaded(
    paths: list[str], words: list[str], run: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("empty").mkdir()
    monkeypatch.setattr("domain_masks.deploy.load", lambda *_, **__: pytest.fail("the model was loaded"))
    assert main(command(run, *paths)) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("dmg: ") == 1
    assert all(word in captured.err for word in words), captured.err


@pytest.mark.slow
def test_interrupting_leaves_no_file_and_no_process(run: Path, digits: Path) -> None:
    words = command(run, "-", "--out", "a.csv", "--workers", 2, "--batch", 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "domain_masks", *words],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    for path in list(digits.rglob("*.png"))[:20]:
        process.stdin.write(os.fsencode(path) + b"\n")
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size > 100 for path in Path().glob(".a.csv.*")) and time.monotonic() < deadline:
        if process.poll() is not None:
            break
        # Rows wait in a buffer of some kilobytes: more images, until the first ones are in the file.
        process.stdin.write(os.fsencode(next(digits.rglob("*.png"))) + b"\n")
        process.stdin.flush()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    error = process.stderr.read().decode()
    assert process.wait(60) == 130, error
    assert "Traceback" not in error
    assert "a.csv is not written" in error
    assert not list(Path().iterdir())
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_other_sizes_and_modes(run: Path) -> None:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (3, 900), dtype=np.uint8)).save("thin.png")
    Image.fromarray(random.integers(0, 65536, (70, 30), dtype=np.uint16)).save("deep.png")
    Image.fromarray(random.integers(0, 256, (300, 200, 4), dtype=np.uint8), "RGBA").save("clear.webp")
    Image.fromarray(random.integers(0, 256, (300, 200, 4), dtype=np.uint8), "CMYK").save("print.jpg")
    Image.new("1", (1, 1)).save("dot.bmp")
    assert main(command(run, ".", "--out", "a.csv", "--quiet")) == 0
    assert len(table(Path("a.csv").read_bytes())) == 5
