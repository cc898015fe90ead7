import json
import os
from pathlib import Path

import numpy as np
import pytest

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records.files import partial_files, read_json, write_json, write_whole, writing


def test_whole_file_is_written_and_leaves_nothing_else(tmp_path):
    write_whole(tmp_path / "new" / "a.txt", "grün\n")
    write_whole(tmp_path / "new" / "b.bin", b"\0\r\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "grün\n".encode()
    assert (tmp_path / "new" / "b.bin").read_bytes() == b"\0\r\n"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.txt", "b.bin"]


def test_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.npz"
    write_whole(path, "old")
    with writing(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        temporary.write_text("half")
        assert path.read_text() == "old"
        assert partial_files(path) == [temporary]
    assert path.read_text() == "half"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_keeps_the_old_file_and_removes_the_temporary_one(tmp_path, error):
    path = tmp_path / "a.txt"
    write_whole(path, "old")

    def interrupted():
        with writing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_errors_about_other_files_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()
    assert list(tmp_path.iterdir()) == []


def test_file_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    write_whole(tmp_path / "whole", "")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_writer_that_replaces_the_temporary_file_is_fine(tmp_path):
    with writing(tmp_path / "a.txt") as temporary:
        temporary.unlink()
        temporary.write_text("again")
    assert (tmp_path / "a.txt").read_text() == "again"


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(RunFolderError, match=r"cannot write .*a\.txt"), writing(tmp_path / "a.txt") as temporary:
        temporary.unlink()
    assert not (tmp_path / "a.txt").exists()


def test_folder_or_file_in_the_way(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunFolderError, match=r"cannot write .*folder"):
        write_whole(tmp_path / "folder", "")
    write_whole(tmp_path / "file", "")
    with pytest.raises(RunFolderError, match=r"cannot write .*inside"):
        write_whole(tmp_path / "file" / "inside", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_full_disk_and_missing_permission_are_told(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(RunFolderError, match="No space left on device"):
            write_whole(tmp_path / "a.txt", "text")

    def forbidden(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(RunFolderError, match="Permission denied"):
        write_whole(tmp_path / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_partial_files_of_a_name_with_brackets(tmp_path):
    path = tmp_path / "a[1]*.txt"
    left = tmp_path / f".{path.name}.12345678.partial.txt"
    left.write_text("half")
    (tmp_path / ".a1b.txt.12345678.partial.txt").write_text("another's")
    assert partial_files(path) == [left]


def test_json_keeps_order_and_converts_numpy(tmp_path):
    path = tmp_path / "a.json"
    content = {
        "z": np.float32(0.5),
        "a": [np.int64(1), np.bool_(True), None, "ü"],
        "m": {"inner": np.array([[1.0, 2.0]]), "path": Path("x")},
    }
    write_json(path, content)
    assert read_json(path) == {"z": 0.5, "a": [1, True, None, "ü"], "m": {"inner": [[1.0, 2.0]], "path": "x"}}
    assert list(read_json(path)) == ["z", "a", "m"]
    assert "ü" in path.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), np.array([1.0, -np.inf])])
def test_json_refuses_what_is_not_finite_and_says_where(tmp_path, value):
    with pytest.raises(InputError, match=r"finite number at out\.accuracy"):
        write_json(tmp_path / "a.json", {"out": {"accuracy": value}})
    assert list(tmp_path.iterdir()) == []


def test_json_refuses_other_types_and_keys(tmp_path):
    with pytest.raises(InputError, match=r"at out\[1\], got a set"):
        write_json(tmp_path / "a.json", {"out": [1, {2}]})
    with pytest.raises(InputError, match="text as keys of out, got 3"):
        write_json(tmp_path / "a.json", {"out": {3: 1}})


@pytest.mark.parametrize("text", ["", "{", '{"a": NaN}', "\xff", "[1]", '"a"'])
def test_malformed_json_names_the_file(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RunFolderError, match=r"results\.json is malformed"):
        read_json(path)


def test_missing_and_unreadable_json_name_the_file(tmp_path):
    with pytest.raises(RunFolderError, match=r"results\.json is missing"):
        read_json(tmp_path / "results.json")
    with pytest.raises(RunFolderError, match="cannot read"):
        read_json(tmp_path)


def test_json_is_what_other_readers_read(tmp_path):
    write_json(tmp_path / "a.json", {"value": np.float64(0.1)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"value": 0.1}
