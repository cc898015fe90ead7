"""Many uploaded images: the rows of ``dmg predict``, ZIP files, limits."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import Literal

import pytest

from domain_masks.cli import main
from domain_masks.deploy import Model
from domain_masks.deploy.demo import uploads
from domain_masks.deploy.demo.uploads import predict_uploads
from domain_masks.errors import InputError
from domain_masks.records.test_time import AtTestTime


@pytest.fixture
def some(images: Path, tmp_path: Path) -> list[Path]:
    found = sorted((images / "dots" / "red").iterdir())[:3]
    return [Path(shutil.copy(path, tmp_path / f"{place}.png")) for place, path in enumerate(found)]


def packed(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(("form", "tta"), [("files", None), ("zip", None), ("files", "flips+crops")])
def test_the_rows_are_those_of_the_command(
    model: Model,
    run_folder: Path,
    some: list[Path],
    form: str,
    tta: Literal["flips+crops"] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = [] if tta is None else ["--tta", tta]
    names = [path.name for path in some]
    assert main(["predict", str(run_folder), *names, "--out", "rows.csv", "--device", "cpu", *flags]) == 0
    given = some if form == "files" else [packed(tmp_path / "a.zip", {path.name: path.read_bytes() for path in some})]
    found = predict_uploads(model, given, "predictions", 5, None if tta is None else AtTestTime(tta=tta))
    assert found.csv == (tmp_path / "rows.csv").read_bytes()
    assert [one["image"] for one in found.to_dict()["predictions"]] == ["0.png", "1.png", "2.png"]


def test_a_zip_file_gives_its_images_alone_and_by_their_names(model: Model, some: list[Path], tmp_path: Path) -> None:
    content = some[0].read_bytes()
    first = packed(
        tmp_path / "a.zip",
        {
            "b/1.png": content,
            "__MACOSX/b/._1.png": b"x",
            "b/.hidden.png": content,
            "notes.txt": b"x",
            "b/2.png": b"no image",
        },
    )
    found = predict_uploads(model, [first], "predictions", 1)
    assert [one.name for one in found.predictions] == ["b/1.png"]
    assert [(one.name, one.reason) for one in found.unreadable] == [("b/2.png", "unsupported or corrupt image")]
    second = packed(tmp_path / "c.zip", {"b/1.png": content})
    both = predict_uploads(model, [first, second, some[1]], "predictions", 1)
    assert [one.name for one in both.predictions] == ["a.zip/b/1.png", "c.zip/b/1.png", "1.png"]


def test_limits_are_one_message_each(
    model: Model, some: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="expected images, or a ZIP file with images, got none"):
        predict_uploads(model, [packed(tmp_path / "a.zip", {"notes.txt": b"x"})], "predictions", 1)
    broken = tmp_path / "b.zip"
    broken.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match=r"'b\.zip' cannot be read as a ZIP file"):
        predict_uploads(model, [broken], "predictions", 1)
    with pytest.raises(InputError, match="masks"):
        predict_uploads(model, some, "mask", 1)
    monkeypatch.setattr(uploads, "MOST_IMAGES", 2)
    with pytest.raises(
        InputError, match="expected at most 2 images at once, got 3: upload fewer, or use `dmg predict`"
    ):
        predict_uploads(model, some, "predictions", 1)


def test_an_image_that_unpacks_to_too_much_is_left_out(
    model: Model, some: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_BYTES", 2**20)
    bomb = packed(tmp_path / "a.zip", {"0.png": some[0].read_bytes(), "bomb.png": bytes(2**20 + 1)})
    assert bomb.stat().st_size < 2**16
    large = tmp_path / "large.png"
    large.write_bytes(some[0].read_bytes() + bytes(2**20))
    found = predict_uploads(model, [bomb, large], "predictions", 1)
    assert [one.name for one in found.predictions] == ["a.zip/0.png"]
    assert [(one.name, one.reason) for one in found.unreadable] == [
        ("a.zip/bomb.png", "larger than 1 MB"),
        ("large.png", "larger than 1 MB"),
    ]


def test_an_encrypted_image_is_said(model: Model, some: list[Path], tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"0.png": some[0].read_bytes(), "1.png": some[1].read_bytes()})
    content = bytearray(path.read_bytes())
    # The flag of encryption, in the entry of the central directory.
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    found = predict_uploads(model, [path], "predictions", 1)
    assert [one.name for one in found.predictions] == ["1.png"]
    assert "encrypted" in found.unreadable[0].reason


def test_the_file_is_text_that_a_spreadsheet_reads(model: Model, some: list[Path]) -> None:
    found = predict_uploads(model, some, "known:dots", 2)
    lines = io.StringIO(found.csv.decode()).read().splitlines()
    assert lines[0].startswith("path,class,probability,class_2,probability_2,vote_dots")
    assert len(lines) == 4
