import io
import os
import sys
from pathlib import Path

import pytest

from domain_masks.deploy import Unreadable, find_images
from domain_masks.deploy.predicting.image_paths import listed_places
from domain_masks.errors import InputError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("b/2.png", "b/10.PNG", "b/deep/x.jpeg", "a/1.webp", "0.tif", "notes.txt", ".hidden/h.png", "b/.h.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    (tmp_path / "photos" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


ALL = ["photos/0.tif", "photos/a/1.webp", "photos/b/10.PNG", "photos/b/2.png", "photos/b/deep/x.jpeg"]


@pytest.mark.parametrize(
    ("places", "found"),
    [
        (["photos"], ALL),
        (["photos/a", "photos/0.tif"], ["photos/a/1.webp", "photos/0.tif"]),
        (["photos/notes.txt"], ["photos/notes.txt"]),
        (["nowhere.png"], ["nowhere.png"]),
        (["photos/b/*.png"], ["photos/b/2.png"]),
        (["photos/b/[12]*"], ["photos/b/10.PNG", "photos/b/2.png"]),
        (["photos/?/*.[pw]*"], ["photos/a/1.webp", "photos/b/2.png"]),
        (["photos/**/*.jpeg"], ["photos/b/deep/x.jpeg"]),
        (["photos/**/deep"], ["photos/b/deep/x.jpeg"]),
        (["photos/b*"], ["photos/b/10.PNG", "photos/b/2.png", "photos/b/deep/x.jpeg"]),
        (["photos/**"], [*ALL, "photos/notes.txt"]),
        (["photos/**/*"], [*ALL, "photos/notes.txt"]),
    ],
)
def test_places_name_images(tree, places, found):
    assert sorted(find_images(places)) == sorted(found)


def test_folders_are_walked_in_the_order_of_names(tree):
    assert list(find_images(["photos"])) == ALL


def test_places_without_images_are_problems(tree):
    found = list(find_images(["photos/empty", "photos/*.gif", "photos/a"]))
    assert [type(item) for item in found] == [Unreadable, Unreadable, str]
    assert found[0] == Unreadable("photos/empty", "a folder without images")
    assert found[1] == Unreadable("photos/*.gif", "nothing matches this pattern")


def test_a_name_with_stars_that_exists_is_no_pattern(tree):
    (tree / "odd [1]*?.png").touch()
    (tree / "dir[1]").mkdir()
    (tree / "dir[1]" / "x.png").touch()
    assert list(find_images(["odd [1]*?.png", "dir[1]"])) == ["odd [1]*?.png", "dir[1]/x.png"]


def test_links_are_followed_but_not_in_circles(tree):
    (tree / "photos" / "a" / "up").symlink_to(tree / "photos")
    (tree / "photos" / "a" / "gone.png").symlink_to("nowhere")
    (tree / "elsewhere").symlink_to("photos/b/deep")
    found = list(find_images(["photos", "elsewhere"]))
    assert sorted(found) == sorted([*ALL, "photos/a/gone.png", "elsewhere/x.jpeg"])


def test_patterns_follow_links_but_not_in_circles(tree):
    expected = sorted(find_images(["photos/**/*.jpeg"]))
    (tree / "photos" / "a" / "up").symlink_to(tree / "photos")
    (tree / "photos" / "self").symlink_to(".")
    (tree / "photos" / "other").symlink_to(tree / "photos" / "b" / "deep")
    for pattern, root in (("photos/**/*.jpeg", ""), (f"{tree}/photos/**/*.jpeg", f"{tree}/"), ("**/*.jpeg", "")):
        found = sorted(find_images([pattern]))
        assert found == sorted(root + path for path in [*expected, "photos/other/x.jpeg"])


def test_very_deep_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = tmp_path
    for _ in range(300):
        here = here / "d"
    here.mkdir(parents=True)
    (here / "x.png").touch()
    (found,) = find_images(["d"])
    assert found == "d/" * 300 + "x.png"


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes no such names")
def test_names_of_any_bytes_survive(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [b"new\nline.png", b"latin-\xe4.png", "ä ピ.png".encode(), b"quo\"te',.png", b"tab\t.png", b"-dash.png"]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()
    assert sorted(os.fsencode(name) for name in find_images(["."])) == sorted(b"./" + name for name in names)
    stream = io.BytesIO(b"\0".join(names))
    assert [os.fsencode(name) for name in listed_places(stream, null=True)] == names


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("piece", [1, 3, 1 << 16])
def test_lists_are_read_as_they_come(null, piece):
    end = b"\0" if null else b"\n"

    class Slow(io.BytesIO):
        def read1(self, size=-1):
            return self.read(min(size, piece))

    content = end.join([b"a.png", b"", b"b c.png", b"\xff.png", b"last.png"])
    for text in (content, content + end):
        assert list(listed_places(Slow(text), null)) == ["a.png", "b c.png", "\udcff.png", "last.png"]
    assert list(listed_places(Slow(b""), null)) == []


def test_lines_may_end_as_on_windows():
    assert list(listed_places(io.BytesIO(b"a.png\r\nb.png\r\n"))) == ["a.png", "b.png"]


def test_the_first_path_comes_before_the_list_ends():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as other:
        other.write(b"a.png\nb.pn")
        places = listed_places(stream)
        assert next(places) == "a.png"
        other.write(b"g\n")
        assert next(places) == "b.png"


def test_what_is_no_list_is_one_message():
    with pytest.raises(InputError, match="not a list of paths: expected the end of a line after each"):
        list(listed_places(io.BytesIO(b"\x89PNG" * 100_000)))


def test_large_folders_need_no_list(tmp_path, monkeypatch):
    monkeypatch.setattr("domain_masks.deploy.predicting.image_paths._SORTED", 3)
    for number in range(10):
        (tmp_path / f"{number}.png").touch()
    taken = list(find_images([str(tmp_path)]))
    assert len(set(taken)) == 10
    for start in range(0, 10, 3):
        assert taken[start : start + 3] == sorted(taken[start : start + 3])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "end"])
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_lists_of_other_programs_are_read_by_their_mark(encoding, end, last, piece):
    class Slow(io.BytesIO):
        def read1(self, size=-1):
            return super().read1(min(size, piece))

    names = ["a.png", "b c.png", "\u00e9\u4e2d.png"]
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    text = mark + end.join(names) + (end if last == "end" else "")
    assert list(listed_places(Slow(text.encode(encoding)))) == names


def test_with_null_bytes_a_name_may_begin_like_a_mark():
    assert list(listed_places(io.BytesIO(b"\xef\xbb\xbfa\0b\0"), null=True)) == ["\ufeffa", "b"]


def test_a_mark_that_is_wrong_is_one_message():
    with pytest.raises(InputError, match="the mark of UTF-16-LE"):
        list(listed_places(io.BytesIO("\ufeffa.png\n".encode("utf-16-le") + b"\x00\xd8\n\n")))


def test_what_operating_systems_leave_behind_is_no_image(tmp_path):
    for name in ("a.png", "._a.png", "b.jfif", "__MACOSX/c.png", "@eaDir/d.png", "e.JPE"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [Path(str(place)).name for place in find_images([str(tmp_path)])]
    assert found == ["a.png", "b.jfif", "e.JPE"]
