"""Hugging Face datasets that are not stored here: labels are read once, images row group by row group when they are needed."""

from __future__ import annotations

import hashlib
import io
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from domain_masks.data.image_files import open_image_file
from domain_masks.errors import InputError
from domain_masks.records.cache import cache_folder, cache_lock
from domain_masks.records.file_state import settled_state_of
from domain_masks.records.files import write_whole

REMOTE = "hf://"
GROUPS_IN_MEMORY = 4
"""Row groups that a process keeps: images that are read in order are read once."""
DEFAULT_CACHE = 10.0
_GIGABYTE = 10**9


@dataclass(frozen=True)
class Shard:
    """A Parquet file; ``starts``: the first row of each of its row groups, in the whole table, and of what follows it."""

    path: str
    starts: tuple[int, ...]

    @property
    def state(self) -> str | None:
        """The state of the file: of one on the Hub its path, which names a commit."""
        if self.path.startswith(REMOTE):
            return hashlib.blake2b(self.path.encode(), digest_size=8).hexdigest()
        return settled_state_of(self.path)


@dataclass(frozen=True)
class StreamedTable:
    """One split: ``shards``, the features of its columns, and a table of the columns that are not images."""

    features: Mapping[str, Any]
    shards: tuple[Shard, ...]

    def __len__(self) -> int:
        return self.shards[-1].starts[-1] - self.shards[0].starts[0] if self.shards else 0

    def index(self, columns: Sequence[str]) -> Any:
        """Return some columns as a table in memory; only their bytes are read from the files."""
        import datasets  # noqa: PLC0415
        import pyarrow as pa  # noqa: PLC0415

        tables = []
        for shard in self.shards:
            with opened(shard.path) as file:
                tables.append(file.read(columns=list(columns)))
        chosen = datasets.Features({name: self.features[name] for name in columns})
        table = pa.concat_tables(tables).cast(chosen.arrow_schema)
        return datasets.Dataset(datasets.table.InMemoryTable(table))


def opened(path: str) -> Any:
    """Return a Parquet file, here or on the Hub, of which only the parts that are asked for are read."""
    return _parquet_file(path, _description(path))


@lru_cache(maxsize=4096)
def _description(path: str) -> Any:
    """Return the description at the end of a Parquet file, which is read once."""
    with _parquet_file(path, None) as file:
        return file.metadata


def _parquet_file(path: str, description: Any) -> Any:
    import fsspec  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    system, place = fsspec.core.url_to_fs(path)
    # Without a buffer of the file system's own, which reads 5 MB around every part; Parquet's asks for a column at once.
    return pq.ParquetFile(system.open(place, "rb", cache_type="none"), metadata=description, pre_buffer=True)


def stream_parts(name: str, config: str | None, revision: str | None) -> dict[str, StreamedTable]:
    """Return the splits of a dataset of Parquet files; of each file only the description at its end is read.

    Raises InputError for other files and for files of one split that differ in their columns, and the library's own errors.
    """
    import datasets  # noqa: PLC0415

    builder = datasets.load_dataset_builder(name, name=config, revision=revision)
    files: Mapping[Any, Sequence[str]] = getattr(builder.config, "data_files", None) or {}
    if builder.name != "parquet" or not files:
        raise InputError(
            f"stream: expected a dataset of Parquet files, whose images can be read one group at a time, got {builder.name}; "
            "leave stream out"
        )
    parts: dict[str, StreamedTable] = {}
    first = 0
    for split, paths in files.items():
        shards: list[Shard] = []
        features: Any = None
        for path in map(str, paths):
            with opened(path) as file:
                own = datasets.Features.from_arrow_schema(file.schema_arrow)
                if features is not None and own != features:
                    raise InputError(
                        f"stream: the files of the split {str(split)!r} differ in their columns or class labels, such as "
                        f"{path}; leave stream out"
                    )
                features = own
                starts = [first]
                for group in range(file.metadata.num_row_groups):
                    starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
            shards.append(Shard(path, tuple(starts)))
            first = starts[-1]
        parts[str(split)] = StreamedTable(features or {}, tuple(shards))
    return parts


@dataclass(frozen=True)
class StreamedOpener:
    """Opens images of Parquet files that may lie on the Hub, also in worker processes.

    The row group of an image is read whole. A process keeps the last few; on disk the last ones of all processes are kept,
    up to ``most_bytes``.

    - ``column``: of undecoded images
    """

    shards: tuple[Shard, ...]
    column: str
    most_bytes: int = int(DEFAULT_CACHE * _GIGABYTE)
    _kept: OrderedDict[tuple[int, int], Any] = field(default_factory=OrderedDict, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict()}

    def __call__(self, row: int) -> Image.Image:
        """Open the image of ``row`` without decoding it; raises what Pillow raises if it cannot, and OSError."""
        return open_image_file(io.BytesIO(self._bytes(row)[0]))

    def read(self, row: int) -> tuple[bytes, str | None]:
        """Return the bytes of the image of ``row``, and the state of the file that they lie in; raises OSError."""
        content, shard = self._bytes(row)
        return content, shard.state

    def states(self) -> list[str | None]:
        """Return the state of the file that each row's image lies in."""
        return [state for shard in self.shards for state in [shard.state] * (shard.starts[-1] - shard.starts[0])]

    def _bytes(self, row: int) -> tuple[bytes, Shard]:
        place = bisect_right([shard.starts[0] for shard in self.shards], row) - 1
        shard = self.shards[place]
        group = bisect_right(shard.starts, row) - 1
        value = self._group(place, group)[row - shard.starts[group]].as_py()
        if value is None or value["bytes"] is None:
            raise OSError(
                "there is no image in this row" if value is None else "the image is not within the Parquet file"
            )
        content: bytes = value["bytes"]
        return content, shard

    def _group(self, place: int, group: int) -> Any:
        """Return the column of images of one row group, from memory, from disk, or from its file."""
        key = (place, group)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        self._kept[key] = found = self._stored(self.shards[place], group)
        while len(self._kept) > GROUPS_IN_MEMORY:
            self._kept.popitem(last=False)
        return found

    def _stored(self, shard: Shard, group: int) -> Any:
        import pyarrow as pa  # noqa: PLC0415

        if not shard.path.startswith(REMOTE) or not self.most_bytes:
            return self._fetched(shard, group)
        name = hashlib.blake2b(f"{shard.path}\0{self.column}\0{group}".encode(), digest_size=16).hexdigest()
        path = cache_folder() / "streamed" / f"{name}.arrow"
        with suppress(OSError, pa.ArrowInvalid):
            # Read whole and not mapped: another process may remove the file.
            column = pa.ipc.open_stream(path.read_bytes()).read_all().column(0)
            os.utime(path)
            return column
        column = self._fetched(shard, group)
        content = io.BytesIO()
        table = pa.table({"image": column})
        with pa.ipc.new_stream(content, table.schema) as writer:
            writer.write_table(table)
        write_whole(path, content.getvalue())
        _evict(path.parent, self.most_bytes)
        return column

    def _fetched(self, shard: Shard, group: int) -> Any:
        try:
            with opened(shard.path) as file:
                return file.read_row_group(group, columns=[self.column]).column(self.column)
        except OSError:
            raise
        # The network's errors have no common base class.
        except Exception as error:
            raise OSError(f"{shard.path} cannot be read: {error}") from error


def _evict(folder: Path, most_bytes: int) -> None:
    """Remove the row groups that were used longest ago, until the others fit."""
    with cache_lock(folder / "all", "streamed images"):
        files = []
        for path in folder.glob("*.arrow"):
            with suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= most_bytes:
                break
            with suppress(OSError):
                path.unlink()
            total -= size


def cache_bytes(text: str | None) -> int:
    """Return the size of the cache in bytes of a number of GB; raises InputError unless it is 0 or more."""
    try:
        size = DEFAULT_CACHE if text is None else float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size < float("inf"):
        raise InputError(f"cache: expected the size of the cache in GB, 0 for none, got {text!r}")
    return int(size * _GIGABYTE)
