"""Hugging Face datasets whose images are read on demand: the same dataset as when it is stored."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import domain_masks.data.huggingface_streaming as module
from domain_masks.data import Subset, evaluation_batches, load_dataset, load_huggingface, split_domains
from domain_masks.data.content import content_of
from domain_masks.data.huggingface_streaming import GROUPS_IN_MEMORY, StreamedOpener
from domain_masks.data.preprocessing import Preprocessing
from domain_masks.errors import InputError
from domain_masks.records.cache import cache_folder
from hub_double import Repository, hub_running

datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

DOMAINS = ("art", "photo", "sketch")
COUNT = 60
GROUP = 4


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "library")
    datasets.disable_progress_bars()


def write(folder: Path, parts: dict[str, range]) -> Path:
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["zebra", "dog"]), domain=datasets.Value("string")
    )
    for name, rows in parts.items():
        columns = {
            "image": [Image.fromarray(np.full((6, 6, 3), row, dtype=np.uint8)) for row in rows],
            "label": [row % 2 for row in rows],
            "domain": [DOMAINS[row % 3] for row in rows],
        }
        folder.mkdir(exist_ok=True)
        table = datasets.Dataset.from_dict(columns, features=features)
        table.to_parquet(folder / f"{name}.parquet", batch_size=GROUP)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    parts = {
        "train-00000-of-00002": range(24),
        "train-00001-of-00002": range(24, 40),
        "test-00000-of-00001": range(40, COUNT),
    }
    folder = write(tmp_path / "files", parts)
    assert parquet.ParquetFile(folder / "train-00000-of-00002.parquet").metadata.num_row_groups == 24 // GROUP
    return folder


def test_it_is_the_dataset_that_is_stored(files: Path) -> None:
    stored, streamed = load_dataset(f"hf:{files}"), load_dataset(f"hf:{files}#stream=yes")
    assert (streamed.name, streamed.ids, streamed.classes, streamed.domains) == (
        stored.name,
        stored.ids,
        stored.classes,
        stored.domains,
    )
    for name in ("labels", "domain_indices", "splits"):
        assert np.array_equal(getattr(streamed, name), getattr(stored, name))
    for held_out in DOMAINS:
        one, other = (split_domains(data, [held_out]) for data in (stored, streamed))
        for part in ("train", "validation", "test", "held_out"):
            assert getattr(one, part).indices.tolist() == getattr(other, part).indices.tolist()
    order = np.random.default_rng(0).permutation(COUNT)
    preprocessing = Preprocessing(6, 6, square=True)
    batches = [
        np.concatenate([batch.images for batch in evaluation_batches(Subset(data, order), preprocessing, 16)])
        for data in (stored, streamed)
    ]
    assert np.array_equal(*batches)
    assert batches[1][:, 0, 0, 0].tolist() == order.tolist()
    assert content_of(stored) == content_of(streamed)


def test_labels_are_read_without_images_and_images_in_order_once(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, int]] = []
    fetched = StreamedOpener._fetched
    monkeypatch.setattr(
        StreamedOpener,
        "_fetched",
        lambda self, shard, group: read.append((shard.path, group)) or fetched(self, shard, group),
    )
    dataset = load_huggingface(f"hf:{files}#stream=yes")
    assert read == []
    for row in range(COUNT):
        dataset.open_image(row)
    assert len(read) == len(set(read)) == COUNT // GROUP
    dataset.open_image(COUNT - 1)
    assert len(read) == COUNT // GROUP
    assert len(dataset.open_image._kept) == GROUPS_IN_MEMORY
    dataset.open_image(0)
    assert len(read) == COUNT // GROUP + 1
    again = pickle.loads(pickle.dumps(dataset.open_image))
    assert again(7).getpixel((0, 0)) == (7, 7, 7)


def test_what_comes_from_the_hub_is_kept_on_disk_within_bounds(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMOTE", "/")  # as if these files were not here
    read: list[int] = []
    fetched = StreamedOpener._fetched
    monkeypatch.setattr(
        StreamedOpener, "_fetched", lambda self, shard, group: read.append(group) or fetched(self, shard, group)
    )

    def opened_all(address: str) -> list[Path]:
        dataset = load_huggingface(address)
        assert [dataset.open_image(row).getpixel((0, 0))[0] for row in range(COUNT)] == list(range(COUNT))
        return sorted((cache_folder() / "streamed").glob("*.arrow"))

    kept = opened_all(f"hf:{files}#stream=yes")
    assert len(kept) == len(read) == COUNT // GROUP
    opened_all(f"hf:{files}#stream=yes")
    assert len(read) == COUNT // GROUP, "the second time everything is on disk"
    size = max(path.stat().st_size for path in kept)
    some = opened_all(f"hf:{files}#stream=yes,cache={2.5 * size / 1e9}")
    assert len(some) == COUNT // GROUP, "nothing new was stored"
    some[0].unlink()
    some = opened_all(f"hf:{files}#stream=yes,cache={2.5 * size / 1e9}")
    assert len(some) == 2
    some[0].write_bytes(b"half")
    opened_all(f"hf:{files}#stream=yes")
    for path in (cache_folder() / "streamed").glob("*.arrow"):
        path.unlink()
    assert opened_all(f"hf:{files}#stream=yes,cache=0") == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("stream=maybe", "stream: expected yes or no, got 'maybe'"),
        ("cache=5", "expected stream=yes with it"),
        ("stream=yes,cache=much", "cache: expected the size of the cache in GB, 0 for none, got 'much'"),
        ("stream=yes,cache=-1", "got '-1'"),
        ("stream=yes,image=domain", "expected images in column 'domain' of the split 'train', got Value"),
        ("stream=yes,label=nothing", "no column 'nothing'"),
    ],
)
def test_mistakes_are_one_message(files: Path, settings: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_huggingface(f"hf:{files}#{settings}")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images" / "train" / "dog").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "train" / "dog" / "a.png")
    with pytest.raises(InputError, match=r"expected a dataset of Parquet files, .*got imagefolder; leave stream out"):
        load_huggingface(f"hf:{tmp_path / 'images'}#stream=yes")


def test_a_file_that_vanished_is_an_unreadable_image(files: Path) -> None:
    dataset = load_huggingface(f"hf:{files}#stream=yes")
    (files / "test-00000-of-00001.parquet").unlink()
    assert dataset.open_image(0).size == (6, 6)
    with pytest.raises(OSError, match="test-00000"):
        dataset.open_image(COUNT - 1)


@pytest.mark.slow
def test_from_a_hub_only_what_is_needed_is_fetched(files: Path, tmp_path: Path) -> None:
    """In a process of its own: the library takes the address from the environment, and remembers connections."""
    program = """
        from domain_masks.data import load_dataset
        streamed = load_dataset("hf:owner/name#stream=yes")
        print(streamed.ids[0], streamed.ids[-1], len(streamed))
        print([streamed.open_image(row).getpixel((0, 0))[0] for row in (59, 0, 30, 31)])
    """
    with hub_running() as hub:
        repository = Repository()
        commit = repository.add({f"data/{path.name}": path.read_bytes() for path in files.iterdir()})
        hub.repositories["owner/name"] = repository
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["train/000000 test/000019 60", "[59, 0, 30, 31]"]
    assert hub.ranges
    assert all(f"/resolve/{commit}/" in path for path, _ in hub.ranges)
    assert not list((tmp_path / "home").rglob("*.parquet")), "no file is stored whole"
