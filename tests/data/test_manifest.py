"""Manifests: what a table may look like, and that everything wrong with one is said at once."""

from __future__ import annotations

import pickle
import re
import sys
import time

import pandas as pd
import pytest
from PIL import Image

from domain_masks.data import load_dataset, load_manifest, split_domains
from domain_masks.errors import InputError

LINES = [
    ("photo/dog/1.png", "dog", "photo"),
    ("photo/cat/1.png", "cat", "photo"),
    ("sketch/dog/1.png", "dog", "sketch"),
    ("art, modern/cat/1.png", "cat", "art, modern"),
    ("skizze/Löwe/ä.png", "Löwe", "skizze"),
]


@pytest.fixture
def folder(tmp_path):
    for index, (path, _, _) in enumerate(LINES):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / path)
    return tmp_path


def text_of(rows, header="path,label,domain", sign=",", end="\n"):
    def quoted(cell):
        return f'"{cell}"' if sign in cell else cell

    return end.join([header, *(sign.join(map(quoted, row)) for row in rows)]) + end


def write(folder, text, name="list.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def refused(file, root=None):
    with pytest.raises(InputError) as caught:
        load_manifest(file, root)
    return str(caught.value)


def checked(dataset):
    assert dataset.ids == tuple(path for path, _, _ in LINES)
    assert dataset.classes == ("Löwe", "cat", "dog")
    assert dataset.domains == ("art, modern", "photo", "sketch", "skizze")
    for row, (_, label, domain) in enumerate(LINES):
        assert dataset.classes[dataset.labels[row]] == label
        assert dataset.domains[dataset.domain_indices[row]] == domain
        with dataset.open_image(row) as image:
            assert image.getpixel((0, 0)) == (row, 0, 0)
    return dataset


def test_a_plain_list(folder):
    dataset = checked(load_manifest(write(folder, text_of(LINES))))
    assert dataset.name == "list.csv"
    assert dataset.splits is None
    assert dataset.groups is None
    assert pickle.loads(pickle.dumps(dataset.open_image))(2).getpixel((0, 0)) == (2, 0, 0)


def test_the_registry_opens_it(folder):
    file = write(folder, text_of(LINES))
    checked(load_dataset(file))
    (folder / "lists").mkdir()
    checked(load_dataset(str(file.rename(folder / "lists" / "list.csv")), folder))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_marks_line_ends_and_blank_lines(folder, encoding, end):
    text = text_of(LINES, end=end)
    lines = text.split(end)
    spaced = end.join(["", lines[0], "", *lines[1:4], ",,", "", *lines[4:], "", ""])
    checked(load_manifest(write(folder, spaced, encoding=encoding)))


def test_other_columns_their_order_and_spaces_do_not_matter(folder):
    rows = [(domain, "x", f" {label} ", path, "") for path, label, domain in LINES]
    checked(load_manifest(write(folder, text_of(rows, " domain ,age,label,path,"))))


def test_tabs(folder):
    rows = [(path, label, domain) for path, label, domain in LINES]
    checked(load_manifest(write(folder, text_of(rows, "path\tlabel\tdomain", "\t"), "list.TSV")))


def test_parquet(folder):
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    table = pd.DataFrame(LINES, columns=["path", "label", "domain"])
    table["domain"] = table["domain"].astype("category")
    table["age"] = 3
    table.to_parquet(folder / "list.parquet")
    checked(load_manifest(folder / "list.parquet"))
    table["label"] = [10, 2, 2, 1, 10]
    table["group"] = [1.0, 2.0, 3.0, 4.0, 5.0]
    table.to_parquet(folder / "list.parquet")
    dataset = load_manifest(folder / "list.parquet")
    assert dataset.classes == ("1", "2", "10")
    assert dataset.groups.tolist() == ["1", "2", "3", "4", "5"]
    table["label"] = [10, None, 2, 1, 10]
    table.to_parquet(folder / "list.parquet")
    assert "label is empty in row 2" in refused(folder / "list.parquet")
    (folder / "list.parquet").write_bytes(b"nothing")
    assert "is no Parquet file" in refused(folder / "list.parquet")


def test_parquet_names_its_extra(folder, monkeypatch):
    (folder / "list.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    assert "install the extra `parquet`" in refused(folder / "list.parquet")


def test_numbers_are_names_in_the_order_of_their_values(folder):
    labels = ["10", "9", "0", "1", "1"]
    rows = [(path, label, str(20 - row)) for row, ((path, _, _), label) in enumerate(zip(LINES, labels, strict=True))]
    dataset = load_manifest(write(folder, text_of(rows)))
    assert dataset.classes == ("0", "1", "9", "10")
    assert dataset.domains == ("16", "17", "18", "19", "20")
    assert [dataset.classes[label] for label in dataset.labels] == labels


def test_paths_may_be_absolute_relative_to_a_root_or_with_backslashes(folder, tmp_path_factory):
    absolute = [(str(folder / path), label, domain) for path, label, domain in LINES]
    checked(load_manifest(write(folder, text_of(absolute))))
    checked(load_manifest(write(tmp_path_factory.mktemp("elsewhere"), text_of(LINES)), folder))
    windows = [(path.replace("/", "\\"), label, domain) for path, label, domain in LINES]
    checked(load_manifest(write(folder, text_of(windows))))
    elsewhere = write(tmp_path_factory.mktemp("elsewhere"), text_of(absolute))
    dataset = load_manifest(elsewhere)
    assert dataset.ids == tuple(path for path, _, _ in absolute)
    moved = elsewhere.rename(tmp_path_factory.mktemp("further") / "list.csv")
    assert load_manifest(moved).fingerprint == dataset.fingerprint
    with dataset.open_image(3) as image:
        assert image.getpixel((0, 0)) == (3, 0, 0)


def test_a_file_given_in_two_ways_is_one(folder):
    (folder / "lists").mkdir()
    rows = [(str(folder / "photo/dog/1.png"), "dog", "photo"), ("../photo/dog/1.png", "dog", "photo")]
    assert f"path '{folder}/photo/dog/1.png' is in lines 2, 3" in refused(write(folder / "lists", text_of(rows)))


def test_absolute_paths_through_a_link_to_the_folder_are_in_it(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(folder)
    absolute = [(f"{link}/{path}", label, domain) for path, label, domain in LINES]
    write(folder, text_of(absolute))
    checked(load_manifest(link / "list.csv"))


def test_official_splits_and_groups(folder):
    splits = ["train", "Validation", "test", "DEV", "valid"]
    rows = [(*line, split, f"patient {row % 2}") for row, (line, split) in enumerate(zip(LINES, splits, strict=True))]
    dataset = load_manifest(write(folder, text_of(rows, "path,label,domain,split,group")))
    assert dataset.splits.tolist() == ["train", "val", "test", "val", "val"]
    assert dataset.groups.tolist() == ["patient 0", "patient 1"] * 2 + ["patient 0"]
    empty = load_manifest(write(folder, text_of([(*line, "", "") for line in LINES], "path,label,domain,split,group")))
    assert empty.splits is None
    assert empty.groups is None


def test_groups_of_a_manifest_are_divided_whole(tmp_path):
    rows = []
    for index in range(120):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{index}.png")
        rows.append((f"{index}.png", str(index % 2), f"hospital {index % 3}", f"patient {index // 6 * 3 + index % 3}"))
    splits = split_domains(load_manifest(write(tmp_path, text_of(rows, "path,label,domain,group"))), ["hospital 1"])
    groups = splits.dataset.groups
    parts = [set(groups[part.indices].tolist()) for part in (splits.train, splits.validation, splits.test)]
    assert [len(part) for part in parts] == [32, 4, 4]
    assert len(set.union(*parts)) == 40


def test_the_fingerprint_follows_the_files_and_the_labels(folder):
    file = write(folder, text_of(LINES))
    before = load_manifest(file).fingerprint
    assert load_manifest(file).fingerprint == before
    changed = [(path, "dog", domain) for path, _, domain in LINES]
    assert load_manifest(write(folder, text_of(changed))).fingerprint != before
    write(folder, text_of(LINES))
    Image.new("RGB", (5, 4)).save(folder / LINES[0][0])
    assert load_manifest(file).fingerprint != before


def test_everything_wrong_is_said_together_with_its_lines(folder):
    rows = [
        ("photo/dog/1.png", "dog", "photo", "train", "a"),
        ("photo/cat/1.png", "", "photo", "trian", "a"),
        ("photo/dog/1.png", "cat", "photo", "test", "a"),
        ("sketch/dog/1.png", "dog", "", "", "a"),
        ("sketch/./dog/1.png", "dog", "sketch", "holdout", "a"),
        ("sketch/dog", "dog", "sketch", "train", "a"),
        ("nowhere.png", "dog", "sketch", "train", ""),
        ("", "dog", "sketch", "train", "a"),
    ]
    message = refused(write(folder, text_of(rows, "path,label,domain,split,group")))
    assert "11 mistakes" in message
    for expected in (
        "path is empty in line 9",
        "label is empty in line 3",
        "domain is empty in line 5",
        "split is empty in line 5: expected it everywhere or nowhere",
        "group is empty in line 8: expected it everywhere or nowhere",
        "split 'trian' in line 3: expected train, val, test, did you mean 'train'?",
        "split 'holdout' in line 6: expected train, val, test",
        "path 'photo/dog/1.png' is in lines 2, 4 with different labels: 'dog', 'cat'",
        "path 'sketch/dog/1.png' is in lines 5, 6",
        "line 7: there is no file 'sketch/dog'",
        "line 8: there is no file 'nowhere.png'",
    ):
        assert expected in message
    assert len(message.splitlines()) == 12


def test_lines_are_counted_with_the_blank_ones(folder):
    rows = [*LINES[:1], ("",), ("missing.png", "dog", "photo"), *LINES[1:]]
    assert "line 4: there is no file 'missing.png'" in refused(write(folder, text_of(rows)))
    assert "line 6: there is no file 'missing.png'" in refused(write(folder, "\n\n" + text_of(rows)))


def test_many_mistakes_are_counted(folder):
    rows = [(f"{index}.png", "dog", "photo") for index in range(100)]
    message = refused(write(folder, text_of(rows)))
    assert "100 mistakes" in message
    assert "... and 80 more" in message
    rows = [(path, "", domain) for path, _, domain in LINES * 3]
    assert "label is empty in lines 2, 3, 4, 5, 6 and 10 more" in refused(write(folder, text_of(rows)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("path,label,domain\n\n", "lists no images"),
        (
            "Path,lable,site\na.png,dog,x\n",
            r"got Path, lable, site without path \('Path'\?\), label \('lable'\?\), domain",
        ),
        ("path;lable;domain\na.png;dog;x\n", "separated by commas"),
        ("path,label,domain,label\na.png,dog,x,cat\n", "every column once, got label more than once"),
        ("path,label,domain\na.png,dog,x,y,z\n", "is no table: .*line 2"),
        ('path,label,domain\n"a.png,dog,x\n', "is no table"),
    ],
)
def test_what_is_no_manifest_is_refused(folder, text, words):
    assert re.search(words, refused(write(folder, text)))


def test_missing_files_roots_and_other_encodings(folder):
    assert "does not exist" in refused(folder / "none.csv")
    assert "is no folder" in refused(write(folder, text_of(LINES)), folder / "none")
    assert "is not UTF-8" in refused(write(folder, text_of(LINES), encoding="latin-1"))


def test_thousands_of_lines_are_read_quickly(tmp_path):
    (tmp_path / "p").mkdir()
    for index in range(3000):
        (tmp_path / "p" / f"{index}.png").touch()
    rows = [(f"p/{index}.png", str(index % 7), str(index % 4)) for index in range(3000)]
    file = write(tmp_path, text_of(rows))
    began = time.monotonic()
    assert len(load_manifest(file)) == 3000
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize(
    "text",
    [
        text_of(LINES).replace(",", ", ").replace("art,  modern", "art, modern"),
        "\n".join(
            ['"path" , "label", "domain"', *(" , ".join(f' "{cell}" ' for cell in row) for row in LINES)],
        ),
        text_of(LINES, "path;label;domain", ";"),
        text_of(LINES, "path\tlabel\tdomain", "\t"),
        text_of(LINES, "path|label|domain", "|"),
        text_of(LINES, "Path,LABEL,'domain'"),
        text_of(LINES, end="\r\n"),
        "\r\n\r\n" + text_of(LINES, end="  \r\n"),
    ],
    ids=["blanks", "quotes", "semicolons", "tabs", "bars", "capitals", "CRLF", "blanks behind"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_tables_are_read_as_people_mean_them(folder, text, encoding):
    checked(load_manifest(write(folder, text, encoding=encoding)))


HEADER = "path,label,domain,notes"


@pytest.mark.parametrize(
    ("header", "notes", "column", "lines"),
    [
        (HEADER, {0: '"blurry', 2: '5" crop'}, "notes", (2, 4)),
        (HEADER, {0: 'height 5"', 1: '"cut', 2: 'width 5"'}, "notes", (3, 4)),
        (HEADER, {0: '"two\nlines"', 1: '"left, upper', 2: 'right"'}, "notes", (4, 5)),
        ("path,label,notes,domain", {0: '"blurry', 2: 'sharp"'}, "notes", (2, 4)),
        ("path,label,domain,group", {1: '"a', 2: 'a"'}, "group", (3, 4)),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quote_that_is_not_closed_swallows_no_lines(folder, header, notes, column, lines, end):
    place = header.split(",").index(column)
    rows = [[f'"{cell}"' if "," in cell else cell for cell in row] for row in LINES]
    for number, row in enumerate(rows):
        row.insert(place, notes.get(number, "ok"))
    text = "\n".join([header, *map(",".join, rows)]).replace("\n", end) + end
    message = refused(write(folder, text))
    assert f"the cell of the column {column!r} in line {lines[0]} goes on to line {lines[1]}" in message
    assert "quote" in message


def test_notes_of_several_lines_are_ignored_and_counted(folder):
    notes = ['"two\nlines"', "one", '"and\n\nthree"', '5" crop', ""]
    rows = [[*(f'"{cell}"' for cell in row), note] for row, note in zip(LINES, notes, strict=True)]
    checked(load_manifest(write(folder, "\n".join([HEADER, *map(",".join, rows)]))))
    rows[3][1] = '""'
    assert "label is empty in line 8" in refused(write(folder, "\n".join([HEADER, *map(",".join, rows)])))


def test_a_tsv_with_commas_and_quotes_in_its_cells(folder):
    rows = [(path, label, f' "{domain}"') for path, label, domain in LINES]
    checked(load_manifest(write(folder, text_of(rows, "path\tlabel\tdomain", "\t"), "list.tsv")))


def test_a_split_column_in_capitals_is_the_split(folder):
    rows = [(*row, split) for row, split in zip(LINES, ["train", "TRAIN", "Val", "test", " test "], strict=True)]
    dataset = load_manifest(write(folder, text_of(rows, "path,label,domain,Split")))
    assert dataset.splits.tolist() == ["train", "train", "val", "test", "test"]


def test_parquet_cells_of_bytes_are_text(folder):
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    table = pd.DataFrame(LINES, columns=["path", "label", "domain"])
    table.assign(label=[f" {name} ".encode() for name in table["label"]]).to_parquet(folder / "list.parquet")
    checked(load_manifest(folder / "list.parquet"))


def test_a_file_of_another_unicode_form_is_named(folder):
    (folder / "e\u0301.png").write_bytes((folder / LINES[0][0]).read_bytes())
    message = refused(write(folder, text_of([("\u00e9.png", "dog", "photo")])))
    assert "another Unicode form: 'e\\u0301.png'" in message


def test_names_that_look_alike_are_said_before_training(folder):
    rows = [*LINES[:2], (LINES[2][0], "Dog ", "sketch"), *LINES[3:]]
    (note,) = load_dataset(write(folder, text_of(rows))).notes
    assert note.startswith("'Dog' and 'dog' count as different classes")
    assert not load_dataset(write(folder, text_of(LINES))).notes
