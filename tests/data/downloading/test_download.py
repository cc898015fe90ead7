"""Datasets from a server on this machine to the folders that loaders expect."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from domain_masks.cli import main
from domain_masks.data import load_folder
from domain_masks.data.downloading import download as module
from domain_masks.data.downloading.archives import unpack
from domain_masks.data.downloading.checksums import git_tree
from domain_masks.data.downloading.download import DownloadSettings, download, plan
from domain_masks.data.downloading.sources import SOURCES, RemoteFile, Source
from domain_masks.data.downloading.transfer import Patience
from domain_masks.data.published_datasets import PUBLISHED
from domain_masks.errors import ArchiveError, DownloadError, InputError
from domain_masks.progress import ConsoleReporter
from loopback import Answer, Server, serving, wait_until

QUIET = ConsoleReporter(quiet=True)
HURRY = Patience(connect=2, read=2, breaks=1, first_wait=0)


def image(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), shade).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


PHOTO = zipped({"top/photo/dog/1.png": image(1), "top/photo/cat/2.png": image(2), "notes.txt": b"not wanted"})
SKETCH = tarred({"sketch/dog/3.png": image(3), "sketch/cat/4.png": image(4)})
LIST = b"photo/dog/1.png 0\n"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def source(**changes: object) -> Source:
    files = {
        "list": RemoteFile("list.txt", "unset", len(LIST), 0, sha256(LIST), place="splits/photo_train.txt"),
        "photo": RemoteFile("photo.zip", "unset", len(PHOTO), 0, sha256(PHOTO), inside="top"),
        "sketch": RemoteFile("sketch.tar.gz", "unset", None, 10_000, sha256(SKETCH)),
        **changes,
    }
    return Source("a summary", "https://example.org/tiny", "for tests", ("photo", "sketch"), tuple(files.values()))  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"list.txt": LIST, "photo.zip": PHOTO, "sketch.tar.gz": SKETCH}) as running:
        yield running


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "tiny", source())


def get(server: Server, root: Path, **settings: object) -> Path:
    return download("tiny", root, QUIET, DownloadSettings(mirror=server.url, patience=HURRY, **settings))  # type: ignore[arg-type]


def test_a_dataset_arrives_as_its_loader_expects_it(server: Server, tmp_path: Path) -> None:
    folder = get(server, tmp_path / "root")
    dataset = load_folder(folder)
    assert dataset.ids == ("photo/cat/2.png", "photo/dog/1.png", "sketch/cat/4.png", "sketch/dog/3.png")
    assert (folder / "splits" / "photo_train.txt").read_bytes() == LIST
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["tiny"]
    receipt = json.loads((folder / "download.json").read_text())
    assert (receipt["schema"], receipt["dataset"], receipt["terms"]) == (1, "tiny", "for tests")
    assert receipt["downloaded"].endswith("+00:00")
    assert receipt["files"][1] == {
        "name": "photo.zip",
        "url": f"{server.url}/photo.zip",
        "size": len(PHOTO),
        "sha256": hashlib.sha256(PHOTO).hexdigest(),
        "compared_with": sha256(PHOTO),
    }


def test_a_second_call_fetches_nothing(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path)
    count = len(server.requests)
    assert get(server, tmp_path) == tmp_path / "tiny"
    assert len(server.requests) == count == 3


def test_kept_archives_are_not_fetched_again(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path, keep_archives=True)
    assert (tmp_path / "downloads" / "tiny" / "photo.zip").read_bytes() == PHOTO
    (tmp_path / "tiny").rename(tmp_path / "elsewhere")
    get(server, tmp_path)
    assert len(server.requests) == 3


def test_what_came_before_a_failure_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    server.script = [Answer(), Answer(stop_after=100), Answer(stop_after=0)]
    with pytest.raises(DownloadError, match=r"photo\.zip: could not be fetched whole"):
        get(server, tmp_path)
    assert not (tmp_path / "tiny").exists()
    get(server, tmp_path)
    assert server.requests[3:] == [("/photo.zip", "bytes=100-"), ("/sketch.tar.gz", None)]


def test_a_wrong_file_in_the_folder_of_archives_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "downloads" / "tiny").mkdir(parents=True)
    (tmp_path / "downloads" / "tiny" / "photo.zip").write_bytes(b"something else")
    get(server, tmp_path)
    assert load_folder(tmp_path / "tiny").domains == ("photo", "sketch")


@pytest.mark.parametrize("there", ["a folder with something in it", "a file"])
def test_an_occupied_folder_is_left_alone(server: Server, tmp_path: Path, there: str) -> None:
    if there == "a file":
        (tmp_path / "tiny").write_text("mine")
    else:
        (tmp_path / "tiny" / "photo").mkdir(parents=True)
    with pytest.raises(InputError, match="was not made by `dmg data download`"):
        get(server, tmp_path)
    assert server.requests == []


def test_an_empty_folder_is_not_in_the_way(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    assert load_folder(get(server, tmp_path)).domains == ("photo", "sketch")


def test_two_calls_at_once(server: Server, tmp_path: Path) -> None:
    (tmp_path / "downloads" / "tiny").mkdir(parents=True)
    with FileLock(tmp_path / "downloads" / "tiny" / ".lock"), pytest.raises(InputError, match="by another call"):
        get(server, tmp_path)
    get(server, tmp_path)


def test_no_space_is_noticed_before_anything_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5000}))
    with pytest.raises(DownloadError, match=r"tiny needs 2.* kB in .* where 5\.0 kB are free"):
        get(server, tmp_path)
    assert server.requests == []


# Archives that hold something else than they should.


def with_photo(monkeypatch: pytest.MonkeyPatch, server: Server, content: bytes, **changes: object) -> None:
    values = {"size": len(content), "checksum": sha256(content), "inside": "top", **changes}
    monkeypatch.setitem(SOURCES, "tiny", source(photo=RemoteFile("photo.zip", "unset", **values)))  # type: ignore[arg-type]
    server.files["photo.zip"] = content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            zipped({"top/photo/dog/1.png": b"", "top/photo/dog/1.PNG": b"x"}),
            r"1\.PNG.* upper and lower case.*archive is removed",
        ),
        (zipped({"other/photo/dog/1.png": b"x"}), r"expected a folder 'top' in it, got other"),
        (zipped({}), "got nothing"),
        (zipped({"top/drawing/dog/1.png": b"x"}), "got none named photo"),
        (zipped({"top/photo/dog/1.png": b"x", "top/sketch/dog/1.png": b"x"}), "two archives hold 'sketch'"),
        (b"<html>please log in</html>", r"photo\.zip cannot be unpacked"),
    ],
)
def test_a_wrong_archive_leaves_no_dataset(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
) -> None:
    with_photo(monkeypatch, server, content)
    with pytest.raises(ArchiveError, match=words):
        get(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["downloads"]
    assert not list(tmp_path.parent.glob("evil"))


def test_a_bomb_is_measured_by_what_the_table_says(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_photo(monkeypatch, server, zipped({"top/photo/dog/1.png": bytes(1000)}), unpacked=999)
    with pytest.raises(ArchiveError, match="more than 999 bytes"):
        get(server, tmp_path)


def test_a_folder_is_compared_by_its_git_id(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a-b/1.png": b"1", "a/2.png": b"2", "a.c": b"3", "photo/dog/\u00e9.png": image(1), "sketch2/x": b""}
    repository = tmp_path / "repository"
    for name, content in files.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(content)
    expected = git_tree(repository)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin:/usr/local/bin", "GIT_CONFIG_NOSYSTEM": "1"}
    commands = [["git", "init", "-q"], ["git", "add", "-A"], ["git", "write-tree"]]
    runs = [
        subprocess.run(c, cwd=repository, env=environment, check=True, capture_output=True, text=True) for c in commands
    ]
    assert runs[-1].stdout.strip() == expected

    content = zipped({f"top/{name}": data for name, data in files.items()})
    with_photo(monkeypatch, server, content, size=None, checksum=None, most=10_000, tree=expected)
    folder = get(server, tmp_path / "root")
    assert json.loads((folder / "download.json").read_text())["files"][1]["compared_with"] == f"git-tree:{expected}"

    server.files["photo.zip"] = zipped({f"top/{name}": data + b"!" for name, data in files.items()})
    with pytest.raises(ArchiveError, match=f"expected the folder with git's id {expected}, got "):
        get(server, tmp_path / "other")


# What has no published checksum, and what a person has to fetch.


@pytest.fixture
def unchecked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with_photo(monkeypatch, server, PHOTO, checksum=None)


@pytest.mark.usefixtures("unchecked")
def test_without_a_published_checksum_a_file_is_fetched_only_on_demand_and_remembered(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"no checksum is published for photo\.zip: --without_checksum"):
        get(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    settings = DownloadSettings(server.url, without_checksum=True, patience=HURRY)
    folder = download("tiny", tmp_path, ConsoleReporter(), settings)
    assert hashlib.sha256(PHOTO).hexdigest() in capsys.readouterr().err
    assert json.loads((folder / "download.json").read_text())["files"][1]["compared_with"] is None

    folder.rename(tmp_path / "elsewhere")
    other = bytearray(PHOTO)
    other[-1] ^= 1
    server.files["photo.zip"] = bytes(other)
    with pytest.raises(DownloadError, match=f"expected {sha256(PHOTO)}, got {sha256(bytes(other))}"):
        get(server, tmp_path)
    server.files["photo.zip"] = PHOTO
    get(server, tmp_path)


@pytest.fixture
def by_hand(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # From the table as it is: without a mirror nothing of it is fetched.
    whole = Source(
        "a summary",
        "https://example.org/tiny",
        "for tests",
        ("photo",),
        (RemoteFile("photo.zip", None, most=10_000, checksum=sha256(PHOTO), inside="top"),),
    )
    monkeypatch.setitem(SOURCES, "tiny", whole)


@pytest.mark.usefixtures("by_hand")
def test_what_a_person_has_to_fetch_is_checked_and_arranged(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"photo\.zip cannot be fetched by a program: open https://example\.org/tiny"):
        download("tiny", tmp_path, QUIET)
    archives = tmp_path / "downloads" / "tiny"
    archives.mkdir(parents=True)
    (archives / "photo.zip").write_bytes(b"half of it")
    with pytest.raises(InputError, match=f"expected {sha256(PHOTO)}, got {sha256(b'half of it')}; remove it"):
        download("tiny", tmp_path, QUIET)
    assert (archives / "photo.zip").is_file()
    (archives / "photo.zip").write_bytes(PHOTO)
    assert load_folder(download("tiny", tmp_path, QUIET)).classes == ("cat", "dog")
    assert server.requests == []


@pytest.mark.usefixtures("by_hand")
def test_a_mirror_may_have_what_otherwise_a_person_has_to_fetch(server: Server, tmp_path: Path) -> None:
    assert load_folder(get(server, tmp_path)).domains == ("photo",)


# Interruptions.


def test_a_killed_call_leaves_no_half_dataset_and_the_next_one_finishes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*arguments: object) -> None:
        unpack(*arguments)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(module, "unpack", killed)
    monkeypatch.setattr(module.shutil, "rmtree", lambda *_, **__: None)  # a killed process cleans nothing up
    with pytest.raises(Killed):
        get(server, tmp_path)
    assert (tmp_path / ".tiny.unpacking").is_dir()
    assert not (tmp_path / "tiny").exists()
    monkeypatch.undo()
    monkeypatch.setitem(SOURCES, "tiny", source())
    get(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert len(server.requests) == 3


def test_ctrl_c_keeps_what_has_come(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / "downloads" / "tiny" / "photo.zip.part"

    def interrupt() -> None:
        wait_until(lambda: part.is_file() and part.stat().st_size == 100)
        os.kill(os.getpid(), signal.SIGINT)

    server.script = [Answer(), Answer(hang_after=100)]
    thread = threading.Thread(target=interrupt)
    thread.start()
    assert main(["data", "download", "tiny", "--root", str(tmp_path), "--url", server.url]) == 130
    thread.join()
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "dmg: interrupted. What has been downloaded is kept; the same command resumes"
    assert part.stat().st_size == 100
    assert not (tmp_path / "tiny").exists()
    get(server, tmp_path)
    assert ("/photo.zip", "bytes=100-") in server.requests


# TerraIncognita is sorted by its annotations.


def camera_traps(annotations: object) -> dict[str, bytes]:
    images = {f"eccv_18_all_images_sm/{name}.jpg": name.encode() for name in ("a", "b", "c", "d", "e")}
    content = json.dumps(annotations).encode() if not isinstance(annotations, bytes) else annotations
    return {
        "caltech_camera_traps.json.zip": zipped({"caltech_images_20210113.json": content}),
        "eccv_18_all_images_sm.tar.gz": tarred(images),
    }


ANNOTATIONS = {
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 3, "name": "car"}],
    "images": [
        {"id": "a", "file_name": "a.jpg", "location": 38},
        {"id": "b", "file_name": "b.jpg", "location": "43"},
        {"id": "c", "file_name": "c.jpg", "location": 46},
        {"id": "d", "file_name": "d.jpg", "location": 100},
        {"id": "e", "file_name": "e.jpg", "location": 7},
        {"id": "f", "file_name": "f.jpg", "location": 38},
        {"id": "g", "file_name": "../../g.jpg", "location": 38},
    ],
    "annotations": [
        *({"image_id": image, "category_id": 1} for image in "abcdefg"),
        {"image_id": "d", "category_id": 2},
        {"image_id": "d", "category_id": 3},
    ],
}


@pytest.fixture
def terra(monkeypatch: pytest.MonkeyPatch) -> None:
    known = SOURCES["terra_incognita"]
    files = (known.files[0], RemoteFile(known.files[1].name, "unset", most=10_000, inside=known.files[1].inside))
    changed = Source(known.summary, known.page, known.terms, known.folders, files, known.arrangement)
    monkeypatch.setitem(SOURCES, "tiny", changed)


@pytest.mark.usefixtures("terra")
def test_terra_incognita_is_sorted_by_location_and_class(server: Server, tmp_path: Path) -> None:
    server.files = camera_traps(ANNOTATIONS)
    dataset = load_folder(get(server, tmp_path, without_checksum=True))
    assert dataset.ids == (
        "location_100/cat/d.jpg",
        "location_100/dog/d.jpg",
        "location_38/dog/a.jpg",
        "location_43/dog/b.jpg",
        "location_46/dog/c.jpg",
    )
    assert (tmp_path / "tiny" / "location_100" / "cat" / "d.jpg").read_bytes() == b"d"
    assert set(dataset.classes) <= set(PUBLISHED["terra_incognita"].classes)


@pytest.mark.usefixtures("terra")
def test_terra_incognita_has_the_locations_and_classes_that_its_loader_expects(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = PUBLISHED["terra_incognita"]
    domains = {"desert": ("7",), "location_38": ("38",)}
    monkeypatch.setitem(PUBLISHED, "terra_incognita", replace(known, domains=domains, classes=("car", "dog")))
    changed = replace(SOURCES["tiny"], folders=tuple(domains))
    monkeypatch.setitem(SOURCES, "tiny", changed)
    server.files = camera_traps(ANNOTATIONS)
    dataset = load_folder(get(server, tmp_path, without_checksum=True))
    assert dataset.ids == ("desert/dog/e.jpg", "location_38/dog/a.jpg")


@pytest.mark.usefixtures("terra")
@pytest.mark.parametrize(
    ("annotations", "words"),
    [
        (b"{", "expected images, annotations and categories"),
        ([], "expected images, annotations and categories"),
        ({"images": [], "categories": []}, "KeyError"),
        (
            {**ANNOTATIONS, "images": ANNOTATIONS["images"][-1:], "annotations": ANNOTATIONS["annotations"][6:7]},
            "none of",
        ),
    ],
)
def test_terra_incognita_with_wrong_annotations(
    server: Server, tmp_path: Path, annotations: object, words: str
) -> None:
    server.files = camera_traps(annotations)
    with pytest.raises((ArchiveError, InputError), match=words):
        get(server, tmp_path, without_checksum=True)
    assert not (tmp_path / "tiny").exists()


# What a disk and other calls do meanwhile.


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "no space is left for tiny"), (errno.EACCES, "cannot put tiny into .*denied")]
)
def test_a_disk_that_refuses_the_last_step_is_one_message(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    words: str,
) -> None:
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if Path(target) == tmp_path / "tiny":
            raise OSError(number, os.strerror(number), str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DownloadError, match=words):
        get(server, tmp_path)
    assert main(["data", "download", "tiny", "--root", str(tmp_path), "--url", server.url, "--quiet"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["downloads"]
    monkeypatch.undo()
    monkeypatch.setitem(SOURCES, "tiny", source())
    count = len(server.requests)
    assert get(server, tmp_path) == tmp_path / "tiny"
    assert len(server.requests) == count, "what had come was kept"


def test_a_call_that_finishes_before_the_lock_is_taken_is_noticed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = module._Download.check

    def check_and_wait(work: module._Download) -> None:
        check(work)
        monkeypatch.undo()
        monkeypatch.setitem(SOURCES, "tiny", source())
        get(server, tmp_path)

    monkeypatch.setattr(module._Download, "check", check_and_wait)
    assert get(server, tmp_path) == tmp_path / "tiny"
    assert len(server.requests) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


# The table, and the command.

REAL = [name for name in SOURCES if name != "tiny"]


@pytest.mark.parametrize("name", REAL)
def test_the_table_is_sound(name: str) -> None:
    known = SOURCES[name]
    names = [file.name for file in known.files]
    assert len(set(names)) == len(names)
    assert known.terms
    for file in known.files:
        assert file.largest > 0, "a body without end has to be stopped somewhere"
        assert file.url is None or file.url.startswith("https://") or (file.url.startswith("http://") and file.checksum)
        assert file.place is None or (file.checksum and ".." not in file.place)
        if file.checksum:
            kind, _, digits = file.checksum.partition(":")
            assert len(digits) == {"sha256": 64, "md5": 32}[kind]
            assert int(digits, 16) > 0
        if file.tree:
            assert int(file.tree, 16) > 0
            assert len(file.tree) == 40
    if known.page.startswith("http"):
        assert plan(name, Path("data"), DownloadSettings())[1].endswith(known.page)


def test_every_dataset_of_the_table_but_terra_incognita_has_checksums() -> None:
    unchecked = {name for name in REAL for file in SOURCES[name].files if not (file.checksum or file.tree)}
    assert unchecked == {"terra_incognita"}


def test_the_lists_of_pacs_are_those_of_the_table(real_data: Path) -> None:
    for file in SOURCES["pacs"].files:
        if file.place is not None:
            content = (real_data / "pacs" / file.place).read_bytes()
            assert (len(content), sha256(content)) == (file.size, file.checksum)


def test_the_command_lists_plans_fetches_and_says_where(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DMG_DATA", str(tmp_path / "data"))
    assert main(["data", "download"]) == 0
    assert "domainnet" in capsys.readouterr().out
    assert main(["data", "download", "tiny", "--dry_run", "--url", server.url]) == 0
    out = capsys.readouterr().out
    for words in (f"{server.url}/photo.zip", "terms: for tests", sha256(PHOTO), str(tmp_path / "data" / "tiny")):
        assert words in out
    assert server.requests == []
    assert not (tmp_path / "data").exists()
    assert main(["data", "download", "tiny", "--url", server.url, "--keep_archives"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'data' / 'tiny'}\n"
    assert "unpacking photo.zip" in captured.err
    (tmp_path / "settings.yaml").write_text(f"dataset: tiny\nroot: {tmp_path / 'data'}\n")
    assert main(["data", "download", "--config", str(tmp_path / "settings.yaml"), "--quiet"]) == 0
    assert main(["data", "download", "digits"]) == 0
    assert "needs no download" in capsys.readouterr().out
    assert main(["data", "download", "--help"]) == 0
    assert "dmg data download pacs" in capsys.readouterr().out


def test_the_home_folder_is_written_out(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main(["data", "download", "tiny", "--root=~/data", "--url", server.url, "--quiet"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'home' / 'data' / 'tiny'}\n"
    assert not Path("~").exists()
    Path("settings.yaml").write_text("root: ~/data\n")
    assert main(["data", "download", "tiny", "--config", "settings.yaml", "--dry_run"]) == 0
    assert f"into: {tmp_path / 'home' / 'data' / 'tiny'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pcas", "--root", "data"], ["pcas", "'pacs'"]),
        (["pacs"], ["--root", "$DMG_DATA"]),
        (["pacs", "--root", "data", "--url", "http://example.org"], ["https://"]),
        (
            ["office_home", "--root", "data"],
            ["hemanthdv.org", "OfficeHomeDataset_10072016.zip", "downloads/office_home"],
        ),
        (["terra_incognita", "--root", "data"], ["--without_checksum"]),
        (["pacs", "--root", "file"], ["'file' is a file"]),
        (["pacs", "--keep_archive"], ["--keep_archives"]),
    ],
)
def test_misuse_is_one_message_and_status_2(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DMG_DATA", raising=False)
    Path("file").write_text("")
    assert main(["data", "download", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dmg: ")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
