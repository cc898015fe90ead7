import json
import multiprocessing
import os
import pickle
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import generated
from domain_masks.data import decoding as decoding_module
from domain_masks.data import load_folder, readable, verify, without_rows
from domain_masks.data import verification_memory as memory_module
from domain_masks.data.decoding import decode, decode_all
from domain_masks.data.verification_memory import Entry, VerificationMemory
from domain_masks.errors import InputError
from domain_masks.records.cache import cache_folder
from domain_masks.records.config import parse_config
from trees_of_images import CLASSES, DOMAINS, clean, cut, save


class Words:
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)

    def track(self, items, total, what):
        yield from items


@pytest.fixture
def tree(tmp_path):
    return clean(tmp_path / "animals")


def settings(tree, **changes):
    return parse_config({"dataset": str(tree), "workers": 0, **changes})


def verified_count(words):
    """How many images were said to be decoded."""
    return sum(int(line.split()[1]) for line in words.lines if line.startswith("verifying"))


def verified(root, workers=0):
    words = Words()
    bad = verify(load_folder(root), workers, words)
    return {image.id: image.reason for image in bad}, verified_count(words)


def test_only_new_and_changed_files_are_read_again(tree):
    assert verified(tree) == ({}, 60)
    assert verified(tree) == ({}, 0)
    save(tree / "art" / "cat" / "new.png", 100)
    cut(tree / "photo" / "dog" / "1.jpg")
    expected = {"photo/dog/1.jpg": "the file ends too early"}
    assert verified(tree) == (expected, 2)
    assert verified(tree) == (expected, 0)
    # Another time of change, the same content.
    os.utime(tree / "sketch" / "dog" / "2.png", ns=(1, 1))
    assert verified(tree) == (expected, 0)
    save(tree / "photo" / "dog" / "1.jpg", 3)
    assert verified(tree) == ({}, 1)


def test_a_link_to_the_folder_shares_what_is_known(tree, tmp_path):
    verified(tree)
    (tmp_path / "link").symlink_to(tree)
    assert verified(tmp_path / "link") == ({}, 0)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 1}', b"\xff\xfe", "newer", "decoder", "shape"])
def test_a_memory_that_cannot_be_used_is_rebuilt(tree, content):
    verified(tree)
    path = VerificationMemory(tree).path
    stored = json.loads(path.read_bytes())
    assert len(stored["files"]) == 60
    if content == "newer":
        content = json.dumps({**stored, "schema": 3}).encode()
    elif content == "decoder":
        content = json.dumps({**stored, "decoder": "Pillow 0.0"}).encode()
    elif content == "shape":
        content = json.dumps({**stored, "files": {"a": [1]}}).encode()
    path.write_bytes(content)
    assert verified(tree) == ({}, 60)
    assert verified(tree) == ({}, 0)


def test_where_nothing_can_be_remembered_images_are_verified_all_the_same(tree, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "file" / "cache"))
    cut(tree / "photo" / "dog" / "1.jpg")
    for _ in range(2):
        assert verified(tree) == ({"photo/dog/1.jpg": "the file ends too early"}, 60)


def test_what_is_found_before_an_interruption_is_kept(tree):
    class Interrupted(Words):
        def track(self, items, total, what):
            for number, item in enumerate(items):
                if number == 40:
                    raise KeyboardInterrupt
                yield item

    with pytest.raises(KeyboardInterrupt):
        verify(load_folder(tree), 0, Interrupted())
    assert verified(tree) == ({}, 20)


def test_it_is_saved_from_time_to_time_and_not_for_every_image(tree, monkeypatch):
    clock = SimpleNamespace(monotonic=map(float, count()).__next__)
    monkeypatch.setattr(memory_module, "time", clock)
    memory = VerificationMemory(tree)
    saved = []
    as_text = memory._as_text
    monkeypatch.setattr(memory, "_as_text", lambda: saved.append(len(memory._known)) or as_text())
    for number in range(100):
        memory.note(f"{number}.png", Entry("state", f"{number}", True))
    assert 2 <= len(saved) <= 6
    assert saved == sorted(saved)


def _note(root, name):
    memory = VerificationMemory(root)
    memory.note(name, Entry("state", name, True))
    memory.save()


def test_two_processes_do_not_lose_what_the_other_has_found(tree):
    first, second = VerificationMemory(tree), VerificationMemory(tree)
    first.note("a.png", Entry("state", "a", True))
    second.note("b.png", Entry("state", "b", True))
    first.save()
    second.save()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_note, args=(tree, f"{number}.png")) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    memory = VerificationMemory(tree)
    assert memory.recall("a.png", "a") == (True, None)
    assert memory.recall("b.png", "b") == (True, None)
    assert memory.recall("b.png", "c") == (False, None)
    assert memory.content_of("b.png", "state") == "b"
    assert memory.content_of("b.png", "another") is memory.content_of("b.png", None) is None
    assert all(memory.recall(f"{number}.png", f"{number}.png")[0] for number in range(6))


def _verify_in_another_process(root, counts):
    counts.put(verified(root)[1])


def test_while_one_process_decodes_the_other_waits_and_uses_what_it_found(tree):
    context = multiprocessing.get_context("fork")
    counts = context.Queue()
    processes = [context.Process(target=_verify_in_another_process, args=(tree, counts)) for _ in range(3)]
    for process in processes:
        process.start()
    found = sorted(counts.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert found == [0, 0, 60]


def test_what_the_file_system_refuses_is_not_remembered(tree):
    dataset = load_folder(tree)
    hidden = tree / "art" / "cat" / "0.png"
    hidden.rename(tree / "elsewhere.png")
    assert [(bad.id, bad.reason) for bad in verify(dataset, 0, Words())] == [("art/cat/0.png", "there is no such file")]
    (tree / "elsewhere.png").rename(hidden)
    words = Words()
    assert verify(dataset, 0, words) == ()
    assert verified_count(words) == 1


def test_images_in_memory_need_no_verification(tmp_path):
    words = Words()
    assert verify(generated.dataset(), 0, words) == ()
    assert words.lines == []
    assert not (cache_folder() / "verification").exists()


BROKEN = {
    "empty": ("empty", b""),
    "web page": ("not-an-image", b"\xef\xbb\xbf\n <!DOCTYPE html><html>"),
    "pointer": ("not-an-image", b"version https://git-lfs.github.com/spec/v1\noid"),
    "zeros": ("not-an-image", bytes(500)),
    "noise": ("not-an-image", bytes(range(100, 200))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_images(tree, name):
    kind, content = BROKEN[name]
    (tree / "art" / "cat" / "1.jpg").write_bytes(content)
    dataset = load_folder(tree)
    for with_facts in (False, True):
        decoded = decode(dataset.open_image, dataset.ids.index("art/cat/1.jpg"), with_facts)
        assert decoded.problem.kind == kind
        assert "BytesIO" not in decoded.problem.reason


@pytest.mark.parametrize(
    "format_name", ["jpg", "progressive.jpg", "large.jpg", "png", "gif", "webp", "tif", "bmp", "ppm"]
)
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.97])
def test_truncated_files_are_found_whether_or_not_every_pixel_is_decoded(tmp_path, format_name, kept):
    root = tmp_path / "one"
    side = 500 if format_name == "large.jpg" else 64
    path = save(root / "a" / "b" / f"x.{format_name}", 0, side)
    if format_name == "progressive.jpg":
        with Image.open(path) as image:
            image.save(path, progressive=True)
    dataset = load_folder(root)
    assert decode(dataset.open_image, 0).problem is None
    cut(path, kept)
    assert decode(dataset.open_image, 0).problem is not None
    assert decode(dataset.open_image, 0, with_facts=True).problem is not None


def test_an_image_of_too_many_pixels_is_found_before_it_is_decoded(tree, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    dataset = load_folder(tree)
    assert decode(dataset.open_image, 0).problem.kind == "too-large"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    # Between once and twice the limit Pillow only warns, and training reads the image.
    assert decode(dataset.open_image, 0).problem is None


def test_processes_find_what_one_process_finds_in_the_same_order(tree, monkeypatch):
    monkeypatch.setattr(decoding_module, "_WORTH_WORKERS", 10)
    cut(tree / "photo" / "dog" / "1.jpg")
    (tree / "sketch" / "dog" / "3.jpg").write_bytes(b"")
    dataset = load_folder(tree)
    alone = list(decode_all(dataset.open_image, range(60), 0, with_facts=True))
    together = list(decode_all(dataset.open_image, range(60), 2, with_facts=True))
    assert alone == together
    assert [decoded.row for decoded in alone] == list(range(60))
    assert sum(decoded.problem is not None for decoded in alone) == 2


def test_rows_are_left_out_of_every_column(tree):
    dataset = load_folder(tree)
    groups = np.array([f"g{row // 2}" for row in range(60)])
    splits = np.array(["train", "val"] * 30)
    whole = without_rows(dataset, ())
    assert whole is dataset
    smaller = without_rows(replace(dataset, groups=groups, splits=splits), [0, 7, 59])
    kept = [row for row in range(60) if row not in (0, 7, 59)]
    assert smaller.ids == tuple(dataset.ids[row] for row in kept)
    np.testing.assert_array_equal(smaller.labels, dataset.labels[kept])
    np.testing.assert_array_equal(smaller.domain_indices, dataset.domain_indices[kept])
    np.testing.assert_array_equal(smaller.splits, splits[kept])
    np.testing.assert_array_equal(smaller.groups, groups[kept])
    assert (smaller.domains, smaller.classes) == (dataset.domains, dataset.classes)
    assert len({dataset.fingerprint, smaller.fingerprint, without_rows(dataset, [1]).fingerprint}) == 3
    assert without_rows(dataset, [0, 7]).fingerprint == without_rows(dataset, [7, 0]).fingerprint
    opener = pickle.loads(pickle.dumps(smaller.open_image))
    for row in (0, 6, 56):
        with opener(row) as image, Image.open(tree / smaller.ids[row]) as expected:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_rows_in_memory_are_left_out_too():
    whole = generated.dataset()
    smaller = without_rows(without_rows(whole, [0]), [1])
    assert smaller.ids[:2] == (whole.ids[1], whole.ids[3])
    opener = pickle.loads(pickle.dumps(smaller.open_image))
    np.testing.assert_array_equal(np.asarray(opener(1)), np.asarray(whole.open_image(3)))


def test_training_refuses_and_names_what_cannot_be_read(tree):
    for number in range(10):
        (tree / "photo" / "dog" / f"{number}.{'jpg' if number % 2 else 'png'}").write_bytes(b"")
    cut(tree / "art" / "cat" / "1.jpg")
    cut(tree / "art" / "cat" / "2.png")
    with pytest.raises(InputError) as caught:
        readable(load_folder(tree), settings(tree), Words())
    message = str(caught.value)
    assert message.startswith("12 of 60 images of 'animals' cannot be read:")
    assert "art/cat/1.jpg: the file ends too early" in message
    assert message.count("the file is empty") == 8
    assert "... and 2 more" in message
    assert f"`dmg data check {tree}`" in message
    assert "--skip_bad" in message


def test_skip_bad_leaves_out_and_says_how_many(tree):
    cut(tree / "art" / "cat" / "1.jpg")
    words = Words()
    smaller = readable(load_folder(tree), settings(tree, skip_bad=True, root="some where"), words)
    assert len(smaller) == 59
    assert "art/cat/1.jpg" not in smaller.ids
    assert "1 of 60 images of 'animals' cannot be read and is left out" in words.lines[-1]
    assert "--root 'some where'" in words.lines[-1]
    # Nothing bad is left, so a second look changes nothing.
    assert readable(smaller, settings(tree), words) is smaller


def test_nothing_is_decoded_without_verification_but_known_by_its_content(tree):
    cut(tree / "art" / "cat" / "1.jpg")
    dataset = load_folder(tree)
    words = Words()
    found = readable(dataset, settings(tree, verify=False), words)
    assert found.ids == dataset.ids
    assert found.contents is not None
    assert words.lines == []


@pytest.mark.parametrize(("kind", "folder"), [("domain", "photo/*/*"), ("class", "*/dog/*")])
def test_a_domain_or_class_of_which_nothing_is_left_is_an_error(tree, kind, folder):
    for path in tree.glob(folder):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=f"every image of the {kind} '{'photo' if kind == 'domain' else 'dog'}'"):
        readable(load_folder(tree), settings(tree, skip_bad=True), Words())


def test_the_tree_of_these_tests_is_as_large_as_they_say(tree):
    assert len(load_folder(tree)) == len(DOMAINS) * len(CLASSES) * 10
    assert Path(tree).name == "animals"
