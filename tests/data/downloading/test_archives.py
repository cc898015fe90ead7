"""Archives that were made to write where they must not, and those that are simply broken."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain_masks.data.downloading import archives
from domain_masks.data.downloading.archives import Bounds, unpack
from domain_masks.data.downloading.member_names import RefusedError
from domain_masks.errors import ArchiveError, DownloadError

BOUNDS = Bounds(most_bytes=1_000_000, most_members=50)
GOOD = {"photo/dog/1.jpg": b"one", "photo/cat/2.jpg": b"two", "readme.txt": b""}


def made_zip(path: Path, members: list[tuple[str, bytes, int]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # as it is: the constructor cuts at NUL
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def made_tar(path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                if "\0" in member[0]:
                    info.pax_headers = {"path": member[0]}  # the short form ends at NUL
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def found(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def good_zip(path: Path) -> Path:
    return made_zip(path, [("photo/", b"", 0o40755), *((name, data, 0o100644) for name, data in GOOD.items())])


def good_tar(path: Path) -> Path:
    return made_tar(path, [special("./photo", tarfile.DIRTYPE, mode=0o42775), *GOOD.items()])


MAKERS = {"a.zip": good_zip, "a.tar": good_tar, "a.tar.gz": good_tar, "a.tgz": good_tar, "A.ZIP": good_zip}


@pytest.mark.parametrize(("name", "make"), MAKERS.items())
def test_a_good_archive_is_unpacked_whole(tmp_path: Path, name: str, make: Callable[[Path], Path]) -> None:
    shown: list[int] = []
    assert unpack(make(tmp_path / name), tmp_path / "out", BOUNDS, shown.append) == (3, 6)
    assert found(tmp_path / "out") == GOOD
    assert shown[-1] == 6
    assert all(not path.stat().st_mode & 0o7000 for path in (tmp_path / "out").rglob("*"))


def test_permissions_of_the_archive_are_not_taken_over(tmp_path: Path) -> None:
    made_zip(tmp_path / "a.zip", [("secret", b"x", 0o100000), ("tool", b"x", 0o100777)])
    unpack(tmp_path / "a.zip", tmp_path / "out", BOUNDS)
    plain = tmp_path / "plain"
    plain.touch()
    modes = {path.stat().st_mode for path in (tmp_path / "out" / "secret", tmp_path / "out" / "tool", plain)}
    assert len(modes) == 1


NAMES = {
    "/etc/evil": "absolute",
    "//etc/evil": "absolute",
    "C:/evil": "absolute",
    "c:evil": "absolute",
    "../evil": "leads out",
    "a/../../evil": "leads out",
    "a/..": "leads out",
    "..": "leads out",
    "..\\evil": "backslash",
    "\\\\server\\share": "backslash",
    "evil\0.jpg": "control character",
    "evil\n.jpg": "control character",
    "evil\x1b[2J": "control character",
    "x" * 300: "more than 255 bytes",
}


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize(("name", "words"), NAMES.items(), ids=[repr(name)[:20] for name in NAMES])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, kind: str, name: str, words: str) -> None:
    members = [("first.jpg", b"good"), (name, b"evil")]
    if kind == "a.zip":
        made_zip(tmp_path / kind, [(one, data, 0o100644) for one, data in members])
    else:
        made_tar(tmp_path / kind, list(members))
    refused(tmp_path, kind, name, words)


def refused(folder: Path, kind: str, name: str, words: str, bounds: Bounds = BOUNDS) -> None:
    before = set(folder.rglob("*"))
    with pytest.raises(ArchiveError) as caught:
        unpack(folder / kind, folder / "inner" / "out", bounds)
    assert words in str(caught.value)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert set(folder.rglob("*")) - before <= {folder / "inner"}
    assert not Path("/etc/evil").exists()


TAR_MEMBERS = {
    "link out": ([special("l", tarfile.SYMTYPE, "/etc/passwd")], "l", "link"),
    "link in": ([("a", b"x"), special("l", tarfile.SYMTYPE, "a")], "l", "link"),
    "hard link out": ([special("l", tarfile.LNKTYPE, "../../../etc/passwd")], "l", "link"),
    "hard link in": ([("a", b"x"), special("l", tarfile.LNKTYPE, "a")], "l", "link"),
    "link, then through it": ([special("d", tarfile.SYMTYPE, "/tmp"), ("d/evil", b"x")], "d", "link"),
    "character device": ([special("n", tarfile.CHRTYPE)], "n", "device"),
    "block device": ([special("n", tarfile.BLKTYPE)], "n", "device"),
    "pipe": ([special("n", tarfile.FIFOTYPE)], "n", "device"),
    "unknown kind": ([special("n", b"Q")], "n", "device"),
    "setuid": ([special("s", tarfile.REGTYPE, mode=0o4755)], "s", "set-user-id"),
    "setgid": ([special("s", tarfile.REGTYPE, mode=0o2755)], "s", "set-user-id"),
    "twice": ([("a", b"x"), ("./a", b"y")], "./a", "twice"),
    "other case": ([("a/B.jpg", b"x"), ("a/b.JPG", b"y")], "a/b.JPG", "but for upper and lower case"),
    "folder of other case": ([("Dog/1", b"x"), ("dog/2", b"y")], "dog/2", "but for upper and lower case"),
    "other form": ([("caf\u00e9", b"x"), ("cafe\u0301", b"y")], "cafe\u0301", "but for upper and lower case"),
    "file, then folder": ([("a", b"x"), ("a/b", b"y")], "a/b", "which is a file"),
    "folder, then file": ([("a/b", b"x"), ("a", b"y")], "a", "twice"),
    "no name": ([(".", b"x")], ".", "no name"),
}


@pytest.mark.parametrize(("members", "name", "words"), TAR_MEMBERS.values(), ids=list(TAR_MEMBERS))
def test_poisoned_tar(
    tmp_path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]], name: str, words: str
) -> None:
    made_tar(tmp_path / "a.tar", [("first", b"good"), *members])
    refused(tmp_path, "a.tar", name, words)


@pytest.mark.parametrize("version", ["with its filter", "without"])
def test_the_filter_of_newer_pythons_is_not_needed(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if version == "without":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    made_tar(tmp_path / "a.tar", [special("d", tarfile.SYMTYPE, "/tmp"), ("d/evil", b"x")])
    refused(tmp_path, "a.tar", "d", "link")
    good_tar(tmp_path / "b.tar")
    assert unpack(tmp_path / "b.tar", tmp_path / "out", BOUNDS) == (3, 6)


ZIP_MEMBERS = {
    "link": ([("l", b"/etc/passwd", stat.S_IFLNK | 0o777)], "l", "link"),
    "link, then through it": ([("d", b"/tmp", stat.S_IFLNK | 0o777), ("d/evil", b"x", 0)], "d", "link"),
    "link that ends in a slash": ([("d/", b"/tmp", stat.S_IFLNK | 0o777)], "d/", "link"),
    "device": ([("n", b"", stat.S_IFCHR)], "n", "device"),
    "pipe": ([("n", b"", stat.S_IFIFO)], "n", "device"),
    "setuid": ([("s", b"x", 0o104755)], "s", "set-user-id"),
    "twice": ([("a", b"x", 0), ("a", b"y", 0)], "a", "twice"),
    "other case": ([("A/1", b"x", 0), ("a/2", b"y", 0)], "a/2", "upper and lower case"),
    "file, then folder": ([("a", b"x", 0), ("a/", b"", 0)], "a/", "twice"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("members", "name", "words"), ZIP_MEMBERS.values(), ids=list(ZIP_MEMBERS))
def test_poisoned_zip(tmp_path: Path, members: list[tuple[str, bytes, int]], name: str, words: str) -> None:
    made_zip(tmp_path / "a.zip", [("first", b"good", 0), *members])
    refused(tmp_path, "a.zip", name, words)


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_a_bomb_is_stopped(tmp_path: Path, kind: str) -> None:
    content = bytes(3_000_000)
    if kind == "a.zip":
        made_zip(tmp_path / kind, [("zeros", content, 0)])
    else:
        made_tar(tmp_path / kind, [("zeros", content)])
    assert (tmp_path / kind).stat().st_size < 10_000
    refused(tmp_path, kind, "zeros", "more than 1,000,000 bytes")


def test_many_files_together_are_a_bomb_too(tmp_path: Path) -> None:
    made_zip(tmp_path / "a.zip", [(f"{number}", bytes(300_000), 0) for number in range(4)])
    refused(tmp_path, "a.zip", "3", "more than 1,000,000 bytes")


@pytest.mark.parametrize(("size", "words"), [(10, "more than 1,000,000 bytes"), (2_000_000, "more than")])
def test_a_member_that_gives_more_than_it_announces_is_stopped(tmp_path: Path, size: int, words: str) -> None:
    member = archives._Member("a", False, 0, size, lambda: io.BytesIO(bytes(3_000_000)))
    with pytest.raises(RefusedError, match=words):
        archives._Unpacking(tmp_path, BOUNDS, lambda done: None).add(member)
    assert sum(len(content) for content in found(tmp_path).values()) <= BOUNDS.most_bytes


@pytest.mark.parametrize("kind", ["a.zip", "a.tar"])
def test_too_many_members(tmp_path: Path, kind: str) -> None:
    if kind == "a.zip":
        made_zip(tmp_path / kind, [(f"{number}/", b"", 0) for number in range(51)])
    else:
        made_tar(tmp_path / kind, [special(f"{number}", tarfile.DIRTYPE) for number in range(51)])
    refused(tmp_path, kind, "50/" if kind == "a.zip" else "50", "too many")


def test_a_zip_that_lies_about_its_sizes_cannot_unpack_to_more(tmp_path: Path) -> None:
    made_zip(tmp_path / "a.zip", [("zeros", bytes(3_000_000), 0)])
    data = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace((3_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    refused(tmp_path, "a.zip", "zeros", "")


def test_a_header_that_claims_gigabytes_is_not_read_into_memory(tmp_path: Path) -> None:
    info = special("pax", tarfile.XHDTYPE)
    info.size = 8_000_000_000
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(2_000_000))
    with pytest.raises(ArchiveError, match="claims 8,000,000,000 bytes"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out", BOUNDS)


def test_zeros_without_end_behind_an_archive_are_stopped(tmp_path: Path) -> None:
    made_tar(tmp_path / "a.tar", [("a", b"x")])
    with gzip.open(tmp_path / "b.tar.gz", "wb") as file:
        file.write((tmp_path / "a.tar").read_bytes() + bytes(3_000_000))
    with pytest.raises(ArchiveError, match="unpacks to more"):
        unpack(tmp_path / "b.tar.gz", tmp_path / "out", BOUNDS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "make"), MAKERS.items())
def test_a_truncated_archive_is_refused_wherever_it_ends(
    tmp_path: Path, name: str, make: Callable[[Path], Path]
) -> None:
    whole = make(tmp_path / name).read_bytes()
    for length in {*range(0, len(whole), max(1, len(whole) // 40)), len(whole) // 512 * 256}:
        (tmp_path / name).write_bytes(whole[:length])
        try:
            unpack(tmp_path / name, tmp_path / "out", BOUNDS)
        except ArchiveError as error:
            assert name in str(error)  # noqa: PT017
            assert not (tmp_path / "out").exists()
        else:
            # A plain tar may lack some of the zeros behind its end.
            assert name == "a.tar"
            assert found(tmp_path / "out") == GOOD
            for path in sorted((tmp_path / "out").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            (tmp_path / "out").rmdir()


def test_a_tar_with_a_broken_header_in_the_middle_is_refused(tmp_path: Path) -> None:
    data = bytearray(made_tar(tmp_path / "a.tar", [("a", b"x"), ("b", b"y")]).read_bytes())
    data[1024 + 148] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(ArchiveError, match="breaks off"):
        unpack(tmp_path / "a.tar", tmp_path / "out", BOUNDS)


def test_a_flipped_byte_is_found_by_the_checksums_inside(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar.gz"):
        data = bytearray(MAKERS[name](tmp_path / name).read_bytes())
        data[-5 if name == "a.tar.gz" else data.index(b"readme.txt") - 40] ^= 1
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ArchiveError, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "out", BOUNDS)


@pytest.mark.parametrize(
    ("name", "content"), [("a.zip", b"<html>"), ("a.tar.gz", b"<html>"), ("a.tar", b"x" * 600), ("a.rar", b"")]
)
def test_what_is_no_archive(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArchiveError, match=name):
        unpack(tmp_path / name, tmp_path / "out", BOUNDS)
    assert not (tmp_path / "out").exists()


def test_encrypted(tmp_path: Path) -> None:
    data = bytearray(made_zip(tmp_path / "a.zip", [("a", b"x", 0)]).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path, "a.zip", "a", "encrypted")


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(good_zip(tmp_path / "a.zip"), tmp_path / "out", BOUNDS, interrupt)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path: Path) -> None:
    def full(done: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(DownloadError, match="no space is left") as caught:
        unpack(good_zip(tmp_path / "a.zip"), tmp_path / "out", BOUNDS, full)
    assert not isinstance(caught.value, ArchiveError)
    assert not (tmp_path / "out").exists()


PARTS = st.sampled_from(["..", ".", "", "a", "A", "b", "C:", "/", "\\", "a\0", "\u00e9", "e\u0301", "link"])


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(st.lists(PARTS, min_size=1, max_size=4).map("/".join), min_size=1, max_size=4),
    kinds=st.lists(
        st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]), min_size=4, max_size=4
    ),
    link=st.sampled_from(["..", "../..", "/tmp", "a", "link"]),
)
def test_whatever_the_members_nothing_appears_outside(names: list[str], kinds: list[bytes], link: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        members = [special(name, kind, link) for name, kind in zip(names, kinds, strict=False)]
        made_tar(folder / "a.tar", list(members))
        (folder / "inner").mkdir()
        try:
            unpack(folder / "a.tar", folder / "inner" / "out", BOUNDS)
        except ArchiveError:
            assert list((folder / "inner").iterdir()) == []
        else:
            assert [path.name for path in (folder / "inner").iterdir()] == ["out"]
            assert not [path for path in folder.rglob("*") if path.is_symlink()]
        assert sorted(path.name for path in folder.iterdir()) == ["a.tar", "inner"]


def compressed(path: Path, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.bin", bytes(range(256)) * 40)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_usual_compressions_are_unpacked_and_their_damage_is_named(tmp_path: Path, method: int) -> None:
    path = compressed(tmp_path / "a.zip", method)
    unpack(path, tmp_path / "out", BOUNDS)
    assert found(tmp_path / "out") == {"a.bin": bytes(range(256)) * 40}
    data = bytearray(path.read_bytes())
    for position in range(35, 60):
        data[position] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"a.bin"):
        unpack(path, tmp_path / "damaged", BOUNDS)
    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_lzma_is_refused_by_name(tmp_path: Path, damaged: bool) -> None:
    path = compressed(tmp_path / "a.zip", zipfile.ZIP_LZMA)
    if damaged:
        data = bytearray(path.read_bytes())
        for position in range(35, 60):
            data[position] ^= 0xFF
        path.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"'a.bin' is compressed by LZMA"):
        unpack(path, tmp_path / "out", BOUNDS)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("number", "name"), [(9, "Deflate64"), (93, "Zstandard"), (77, "method 77")])
def test_other_compressions_are_refused_by_name(tmp_path: Path, number: int, name: str) -> None:
    path = compressed(tmp_path / "a.zip", zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[8], data[directory + 10] = number, number
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=f"is compressed by {name}"):
        unpack(path, tmp_path / "out", BOUNDS)


@pytest.mark.parametrize("error", [lzma.LZMAError("x"), zlib.error("x"), EOFError("x"), NotImplementedError("x")])
def test_whatever_a_decompressor_raises_is_damage(
    tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise error

    path = compressed(tmp_path / "a.zip", zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipExtFile, "read", fail)
    with pytest.raises(ArchiveError, match=r"a.bin.*x"):
        unpack(path, tmp_path / "out", BOUNDS)
