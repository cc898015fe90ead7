"""Lists with lines "path label": what is read of them, and which image a line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain_masks.data.split_lists import ImagePaths, ListLine, read_split_list


def test_lines_are_read_and_others_are_named(tmp_path: Path) -> None:
    text = "a/x/1.png 0\n\n  a/x/two words.png  12 \na/x/3.png\nnonsense here\na/x/4.png -1\n"
    (tmp_path / "list.txt").write_text(text)
    lines, odd = read_split_list(tmp_path / "list.txt")
    assert lines == [ListLine(1, "a/x/1.png", 0), ListLine(3, "a/x/two words.png", 12)]
    assert odd == {4: "a/x/3.png", 5: "nonsense here", 6: "a/x/4.png -1"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_editors_write(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "list.txt").write_bytes("é/x/1.png 3\r\n".encode(encoding))
    assert read_split_list(tmp_path / "list.txt") == ([ListLine(1, "é/x/1.png", 3)], {})


def test_names_that_are_no_utf8_keep_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"a/x/\xff.png 1\n")
    ((_, path, _),) = read_split_list(tmp_path / "list.txt")[0]
    assert path.encode("utf-8", "surrogateescape") == b"a/x/\xff.png"


def test_a_listed_image_may_have_another_extension() -> None:
    paths = ImagePaths(["a/x/1.png", "a/x/2.jpg", "a/x/2.png"])
    assert paths.find("a/x/1.jpg") == "a/x/1.png"
    assert paths.find("a/x/2.jpg") == "a/x/2.jpg"
    assert paths.find("a/x/3.jpg") is None
