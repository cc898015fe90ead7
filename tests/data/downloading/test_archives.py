"""Archives that were made to write where they must not, and those that are simply broken."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain_masks.data.downloading.archives import unpack
from domain_masks.errors import ArchiveError

MOST = 1_000_000
GOOD = {"photo/dog/1.jpg": b"one", "photo/cat/2.jpg": b"two", "readme.txt": b""}


def made_zip(path: Path, members: list[tuple[str, bytes, int]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # as it is: the constructor cuts at NUL
            info.external_attr = mode << 16
            info.compress_type = method
            archive.writestr(info, content)
    return path


def made_tar(path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
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


MAKERS = {"a.zip": good_zip, "a.tar.gz": good_tar, "a.tgz": good_tar, "A.ZIP": good_zip}


@pytest.mark.parametrize(("name", "make"), MAKERS.items())
def test_a_good_archive_is_unpacked_whole(tmp_path: Path, name: str, make: Callable[[Path], Path]) -> None:
    shown: list[int] = []
    assert unpack(make(tmp_path / name), tmp_path / "out", MOST, shown.append) == 6
    assert found(tmp_path / "out") == GOOD
    assert shown[-1] == 6


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_permissions_of_the_archive_are_not_taken_over(tmp_path: Path, name: str) -> None:
    modes = {"secret": 0o100000, "tool": 0o100777, "root": 0o104755}
    if name == "a.zip":
        made_zip(tmp_path / name, [(one, b"x", mode) for one, mode in modes.items()])
    else:
        made_tar(tmp_path / name, [special(one, tarfile.REGTYPE, mode=mode & 0o7777) for one, mode in modes.items()])
    unpack(tmp_path / name, tmp_path / "out", MOST)
    plain = tmp_path / "plain"
    plain.touch()
    assert {path.stat().st_mode for path in (*(tmp_path / "out").iterdir(), plain)} == {plain.stat().st_mode}


def refused(folder: Path, archive: str, words: str, most: int = MOST) -> None:
    with pytest.raises(ArchiveError, match=words) as caught:
        unpack(folder / archive, folder / "inner" / "out", most)
    assert str(caught.value).startswith(f"{archive} cannot be unpacked")
    assert "\n" not in str(caught.value)
    assert {path.name for path in folder.iterdir()} <= {archive, "inner"}
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


TAR_MEMBERS = {
    "parent": ([("../evil", b"x")], r"'\.\./evil'.*outside"),
    "parents": ([("a/../../../evil", b"x")], "outside"),
    "link out": ([special("l", tarfile.SYMTYPE, "/etc/passwd")], "'l'.*special file"),
    "link in": ([("a", b"x"), special("l", tarfile.SYMTYPE, "a")], "'l'.*special file"),
    "hard link out": ([special("l", tarfile.LNKTYPE, "../../../etc/passwd")], "special file"),
    "link, then through it": ([special("d", tarfile.SYMTYPE, "/tmp"), ("d/evil", b"x")], "'d'.*special file"),
    "device": ([special("n", tarfile.CHRTYPE)], "special file"),
    "pipe": ([special("n", tarfile.FIFOTYPE)], "special file"),
    "twice": ([("a", b"x"), ("./a", b"y")], r"'\./a'.*upper and lower case"),
    "other case": ([("a/B.jpg", b"x"), ("a/b.JPG", b"y")], "'a/b.JPG'.*'a/B.jpg', but for upper and lower case"),
    "other form": ([("caf\u00e9", b"x"), ("cafe\u0301", b"y")], "upper and lower case"),
}


@pytest.mark.parametrize(("members", "words"), TAR_MEMBERS.values(), ids=list(TAR_MEMBERS))
def test_poisoned_tar(tmp_path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]], words: str) -> None:
    made_tar(tmp_path / "a.tar.gz", [("first", b"good"), *members])
    refused(tmp_path, "a.tar.gz", words)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "members",
    [[("a", b"x", 0), ("a", b"y", 0)], [("a/B", b"x", 0), ("A/b", b"y", 0)]],
    ids=["twice", "other case"],
)
def test_names_that_would_replace_each_other(tmp_path: Path, members: list[tuple[str, bytes, int]]) -> None:
    made_zip(tmp_path / "a.zip", members)
    refused(tmp_path, "a.zip", "upper and lower case")


def test_an_older_python_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(ArchiveError, match=r"needs Python 3\.11\.4"):
        unpack(good_tar(tmp_path / "a.tar.gz"), tmp_path / "out", MOST)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("sizes", [[3_000_000], [300_000] * 4])
def test_a_bomb_is_stopped(tmp_path: Path, name: str, sizes: list[int]) -> None:
    members = [(f"zeros{number}", bytes(size)) for number, size in enumerate(sizes)]
    if name == "a.zip":
        made_zip(tmp_path / name, [(*member, 0) for member in members])
    else:
        made_tar(tmp_path / name, list(members))
    assert (tmp_path / name).stat().st_size < 10_000
    refused(tmp_path, name, f"zeros{len(sizes) - 1}.*more than 1,000,000 bytes")
    assert sum(map(len, found(tmp_path / "inner").values())) <= MOST


def test_a_zip_that_lies_about_its_sizes_cannot_unpack_to_more(tmp_path: Path) -> None:
    data = made_zip(tmp_path / "a.zip", [("zeros", bytes(3_000_000), 0)]).read_bytes()
    (tmp_path / "a.zip").write_bytes(data.replace((3_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little")))
    refused(tmp_path, "a.zip", "zeros")
    assert sum(map(len, found(tmp_path / "inner").values())) <= 1000


@pytest.mark.parametrize("member", [1, 2])
def test_a_damaged_header_inside_of_a_whole_gzip_is_not_the_end(tmp_path: Path, member: int) -> None:
    path = good_tar(tmp_path / "a.tar.gz")
    content = bytearray(gzip.decompress(path.read_bytes()))
    with tarfile.open(path) as archive:
        place = archive.getmembers()[member].offset
    content[place + 1] ^= 1
    path.write_bytes(gzip.compress(content))
    refused(tmp_path, path.name, "header after it is damaged")


@pytest.mark.parametrize(("name", "make"), list(MAKERS.items())[:2])
def test_a_truncated_archive_is_refused_wherever_it_ends(
    tmp_path: Path, name: str, make: Callable[[Path], Path]
) -> None:
    whole = make(tmp_path / name).read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(ArchiveError, match=name):
            unpack(tmp_path / name, tmp_path / f"out{length}", MOST)


def test_a_flipped_byte_is_found_by_the_checksums_inside(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar.gz"):
        data = bytearray(MAKERS[name](tmp_path / name).read_bytes())
        data[-5 if name == "a.tar.gz" else data.index(b"readme.txt") - 40] ^= 1
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ArchiveError, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / f"out of {name}", MOST)


@pytest.mark.parametrize(
    ("name", "content"), [("a.zip", b"<html>"), ("a.tar.gz", b"<html>"), ("a.tar", b"x" * 600), ("a.rar", b"")]
)
def test_what_is_no_archive(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArchiveError, match=name):
        unpack(tmp_path / name, tmp_path / "out", MOST)


def test_encrypted(tmp_path: Path) -> None:
    data = bytearray(made_zip(tmp_path / "a.zip", [("a", b"x", 0)]).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path, "a.zip", "'a'.*encrypted")


@pytest.mark.parametrize("number", [9, 93, 77])
def test_other_compressions_are_refused(tmp_path: Path, number: int) -> None:
    data = bytearray(made_zip(tmp_path / "a.zip", [("a", b"x", 0)], zipfile.ZIP_STORED).read_bytes())
    data[8], data[data.index(b"PK\x01\x02") + 10] = number, number
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path, "a.zip", "'a'.*compression")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_of_every_compression_is_named(tmp_path: Path, method: int) -> None:
    data = bytearray(made_zip(tmp_path / "a.zip", [("a.bin", bytes(range(256)) * 40, 0)], method).read_bytes())
    for position in range(40, 60):
        data[position] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(data)
    refused(tmp_path, "a.zip", "a.bin")


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path: Path) -> None:
    def full(done: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        unpack(good_zip(tmp_path / "a.zip"), tmp_path / "out", MOST, full)


PARTS = st.sampled_from(["..", ".", "", "a", "A", "b", "C:", "/", "\\", "a\0", "\u00e9", "e\u0301", "link", "x" * 300])
KINDS = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=4).map("/".join), min_size=1, max_size=4)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@settings(max_examples=75, deadline=None)
@given(
    names=NAMES,
    kinds=st.lists(st.sampled_from(KINDS), min_size=4, max_size=4),
    link=st.sampled_from(["..", "../..", "/tmp", "a", "link"]),
)
def test_whatever_the_members_nothing_appears_outside(
    names: list[str], kinds: list[bytes], link: str, name: str
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if name == "a.zip":
            mode = stat.S_IFLNK if kinds[0] == tarfile.SYMTYPE else stat.S_IFREG
            made_zip(folder / name, [(one, link.encode(), mode) for one in names])
        else:
            made_tar(folder / name, [special(one, kind, link) for one, kind in zip(names, kinds, strict=False)])
        (folder / "inner").mkdir()
        try:
            unpack(folder / name, folder / "inner" / "out", MOST)
        except (ArchiveError, OSError) as error:
            # The system refuses names that are too long, and folders where files are.
            assert isinstance(error, ArchiveError) or error.errno  # noqa: PT017
        assert [path.name for path in (folder / "inner").iterdir()] == ["out"]
        assert not [path for path in folder.rglob("*") if path.is_symlink()]
        assert sorted(path.name for path in folder.iterdir()) == [name, "inner"]
