"""Hugging Face datasets, from the Hub or from a folder: ``hf:NAME``."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from domain_masks.data.dataset import SPLIT_OF_WORD, ImageDataset, TextArray, fingerprint_of
from domain_masks.data.huggingface_columns import read_column, without_unlabelled
from domain_masks.data.huggingface_files import load_files
from domain_masks.data.huggingface_streaming import Shard, StreamedOpener, StreamedTable, cache_bytes, stream_parts
from domain_masks.data.image_files import open_image_file
from domain_masks.errors import InputError, nearest, unknown
from domain_masks.records.file_state import read_with_state, settled_state_of, state_of
from domain_masks.records.files import is_there, printable

PREFIX = "hf:"
ROLES: dict[str, tuple[str, ...]] = {
    "image": ("image", "img", "picture", "photo"),
    "label": ("label", "labels", "class", "category", "target", "fine_label", "y"),
    "domain": ("domain", "domains", "style", "environment", "env", "source", "site", "hospital", "center", "location"),
    "group": ("group",),
}
"""Role of a column -> the names that are tried for it, in this order."""
_SETTINGS = (*ROLES, "config", "revision", "stream", "cache")
_WITHOUT = "none"
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Address:
    """A parsed ``hf:NAME#setting=value,...``: the name or folder, and the settings, see :func:`load_huggingface`."""

    name: str
    settings: dict[str, str]


def parse_address(text: str) -> Address:
    """Parse ``hf:NAME#label=species,domain=camera``; raises InputError if it has another form."""
    name, _, settings_text = text.removeprefix(PREFIX).partition("#")
    example = f"as in {PREFIX}flwrlabs/pacs#label=label,domain=domain"
    if not name:
        raise InputError(f"expected the name of a dataset after {PREFIX}, {example}, got {text!r}")
    settings: dict[str, str] = {}
    for word in filter(None, settings_text.split(",")):
        key, equals, value = (part.strip() for part in word.partition("="))
        if not equals or not value:
            raise InputError(f"{text!r}: expected settings as name=value, {example}, got {word!r}")
        if key not in _SETTINGS:
            raise unknown(f"setting of {PREFIX}{name}", key, _SETTINGS)
        settings[key] = value
    return Address(name, settings)


def absolute_address(text: str) -> str:
    """Return ``hf:folder#...`` with an absolute folder; a dataset of the Hub is returned unchanged."""
    name, sign, settings = text.removeprefix(PREFIX).partition("#")
    # The library prefers a folder of this name over the Hub, and so does this.
    folder = f"{Path(name).absolute()}" if name and is_there(name) and Path(name).is_dir() else name
    return f"{PREFIX}{folder}{sign}{settings}"


@dataclass(frozen=True)
class HuggingFaceOpener:
    """Opens the image in a row of a Hugging Face table, which is memory-mapped, also in worker processes.

    ``table`` has one column, ``column``, of undecoded images.
    """

    table: Any
    column: str

    def __call__(self, row: int) -> Image.Image:
        """Open the image of ``row`` without decoding it; raises what Pillow raises if it cannot."""
        value = self._value(row)
        return open_image_file(Path(value["path"]) if value["bytes"] is None else io.BytesIO(value["bytes"]))

    def read(self, row: int) -> tuple[bytes, str | None]:
        """Return the bytes of the image of ``row``, and the state of the file that they lie in; raises OSError."""
        value = self._value(row)
        return read_with_state(value["path"]) if value["bytes"] is None else (value["bytes"], self._table_state)

    def states(self) -> list[str | None]:
        """Return the state of the file that each row's image lies in: the table's, or its own."""
        states: list[str | None] = []
        for part in self.table.with_format("arrow").iter(_ROWS_AT_ONCE):
            values = part.column(self.column)
            for field, is_own in zip(values.combine_chunks().field("bytes").is_null(), values, strict=True):
                path = is_own["path"].as_py() if field.as_py() else None
                states.append(self._table_state if path is None else state_of(path))
        return states

    def _value(self, row: int) -> dict[str, Any]:
        value: dict[str, Any] | None = self.table[row][self.column]
        if value is None:
            raise OSError("there is no image in this row")
        return value

    @cached_property
    def _table_state(self) -> str | None:
        states = [settled_state_of(file["filename"]) for file in self.table.cache_files]
        return None if not states or None in states else "/".join(map(str, states))


def load_huggingface(address: str) -> ImageDataset:
    """Return a Hugging Face dataset with a column each of images, labels and domains.

    ``address`` is ``hf:NAME`` for the hub, or ``hf:./folder`` for a folder that ``save_to_disk`` has written or that
    ``datasets.load_dataset`` can read, such as one of Parquet files. Columns are found by type and by name (ROLES), or
    named: ``hf:NAME#image=photo,label=species,domain=camera,group=sequence``; ``config`` and ``revision`` choose among
    what the hub has, and ``group=none`` ignores a column of that name. Labels and domains may be class labels, texts or
    whole numbers; class labels are matched by name, not by their order in each split (:func:`read_column`).

    All splits are used but those without any label, which the notes name. They are official splits if there are at
    least two and all are called train, val (validation, valid, dev) or test, otherwise parts of one table. Images are
    read when they are needed.

    ``stream=yes`` reads the images of Parquet files from the Hub when they are needed, and keeps ``cache`` GB of them
    (:mod:`domain_masks.data.huggingface_streaming`); rows, ids, labels and splits are those of the stored dataset.

    Raises InputError if the library is not installed, or the dataset cannot be loaded or lacks a column or a value.
    """
    parsed = parse_address(address)
    is_streamed = _is_streamed(parsed)
    parts = _parts(parsed, is_streamed)
    features: dict[str, Any] = {}
    for part in parts.values():
        features = {**part.features, **features}
    columns = _columns(parsed, features)
    subject = f"{PREFIX}{parsed.name}"
    stored = parts
    if is_streamed:
        parts = {
            name: part.index([one for one in part.features if one in _index_of(columns)])
            for name, part in parts.items()
        }
    parts, notes = without_unlabelled(subject, parts, columns["label"])
    classes, labels = read_column(subject, "label", columns["label"], parts)
    domains, domain_indices = read_column(subject, "domain", columns["domain"], parts)
    group_names, groups = read_column(subject, "group", columns["group"], parts) if "group" in columns else ((), None)
    ids = tuple(f"{name}/{row:06d}" for name, part in parts.items() for row in range(len(part)))
    splits = {name: SPLIT_OF_WORD.get(name.lower()) for name in parts}
    official: TextArray | None = None
    if len(parts) > 1 and all(splits.values()):
        official = np.array([splits[name] for name, part in parts.items() for _ in range(len(part))], dtype=np.str_)
    folder = Path(parsed.name)
    name = PREFIX + (printable(folder.resolve().name) if folder.is_dir() else parsed.name.replace("/", "--"))
    prints = [
        " ".join(str(shard.state) for shard in stored[name].shards) if is_streamed else str(part._fingerprint)
        for name, part in parts.items()
    ]
    open_image: Any
    if is_streamed:
        open_image = _streamed(subject, {name: stored[name] for name in parts}, columns["image"], parsed)
    else:
        open_image = HuggingFaceOpener(_images(subject, parts, columns["image"]), columns["image"])
    return ImageDataset(
        name=name,
        classes=classes,
        domains=domains,
        ids=ids,
        labels=labels,
        domain_indices=domain_indices,
        splits=official,
        open_image=open_image,
        fingerprint=fingerprint_of([(name,), classes, domains, prints], [labels, domain_indices]),
        groups=None if groups is None else np.array(group_names, dtype=np.str_)[groups],
        notes=notes,
    )


def _is_streamed(address: Address) -> bool:
    """Return whether images are read on demand; raises InputError for another value, and for a cache of stored images."""
    value = address.settings.get("stream", "no")
    if value not in ("yes", "no"):
        raise InputError(f"{PREFIX}{address.name}: stream: expected yes or no, got {value!r}")
    if value == "no" and "cache" in address.settings:
        raise InputError(
            f"{PREFIX}{address.name}: cache is the disk space of streamed images: expected stream=yes with it"
        )
    try:
        cache_bytes(address.settings.get("cache"))
    except InputError as error:
        raise InputError(f"{PREFIX}{address.name}: {error}") from error
    return value == "yes"


def _index_of(columns: Mapping[str, str]) -> set[str]:
    return {column for role, column in columns.items() if role != "image"}


def _streamed(subject: str, parts: Mapping[str, StreamedTable], column: str, address: Address) -> StreamedOpener:
    """Return the opener of the images of all parts, whose rows are numbered from 0; raises InputError where a part has none."""
    shards: list[Shard] = []
    first = 0
    for name, part in parts.items():
        kind = type(part.features.get(column)).__name__
        if kind != "Image":
            raise InputError(
                f"{subject}: expected images in column {column!r} of the split {name!r}, got {kind}; name another with "
                "#image=COLUMN"
            )
        for shard in part.shards:
            shards.append(Shard(shard.path, tuple(first + start - shard.starts[0] for start in shard.starts)))
            first = shards[-1].starts[-1]
    return StreamedOpener(tuple(shards), column, cache_bytes(address.settings.get("cache")))


def _parts(address: Address, is_streamed: bool = False) -> dict[str, Any]:
    """Return the dataset's splits, by name."""
    try:
        import datasets  # noqa: PLC0415 - takes a second, and is not needed for others
    except ImportError as error:
        raise InputError(
            f"{PREFIX}{address.name} needs the library datasets: install the extra `hub` "
            "(pip install 'domain-masks[hub]')"
        ) from error
    folder = Path(address.name)
    local = folder.is_dir()
    if not local and address.name.startswith((".", "/", "~")):
        raise InputError(f"{PREFIX}{address.name}: there is no folder {address.name!r}")
    try:
        if is_streamed:
            loaded = stream_parts(
                str(folder.resolve()) if local else address.name,
                address.settings.get("config"),
                None if local else address.settings.get("revision"),
            )
        elif local and ((folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()):
            loaded = datasets.load_from_disk(address.name)
        else:
            loaded = load_files(
                str(folder.resolve()) if local else address.name,
                address.settings.get("config"),
                None if local else address.settings.get("revision"),
            )
    except InputError as error:
        raise InputError(f"{PREFIX}{address.name}: {error}") from error
    # The library raises its own errors, the network's and its readers', which have no common base class.
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        advice = "check the folder" if local else "check the name on the hub, and the connection"
        raise InputError(
            f"{PREFIX}{address.name} cannot be loaded: {reason} ({type(error).__name__}); {advice}"
        ) from error
    parts: dict[str, Any] = dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or "all"): loaded}
    parts = {name: part for name, part in parts.items() if len(part)}
    if not parts:
        raise InputError(f"{PREFIX}{address.name} has no rows: choose another with #config=NAME or #revision=NAME")
    return parts


def _columns(address: Address, features: Any) -> dict[str, str]:
    """Return the column for every role; raises InputError that names all that are missing."""
    chosen: dict[str, str] = {}
    missing = []
    for role, names in ROLES.items():
        requested = address.settings.get(role)
        if requested is not None:
            if requested in features:
                chosen[role] = requested
            elif not (role == "group" and requested == _WITHOUT):
                guess = nearest(requested, features)
                missing.append(f"no column {requested!r}" + (f" (did you mean {guess!r}?)" if guess else ""))
            continue
        images = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
        by_name = [name for name in names if name in features]
        candidates = images if role == "image" and len(images) == 1 else by_name
        if candidates:
            chosen[role] = candidates[0]
        elif role != "group":
            missing.append(f"no column for the {role} (tried {', '.join(names)})")
    if missing:
        raise InputError(
            f"{PREFIX}{address.name}: {'; '.join(missing)}. It has the columns {', '.join(features)}: name them, as in "
            f"{PREFIX}{address.name}#image=COLUMN,label=COLUMN,domain=COLUMN"
        )
    return chosen


def _images(subject: str, parts: Mapping[str, Any], column: str) -> Any:
    """Return one table with the undecoded images of all parts; raises InputError where a part has none."""
    import datasets  # noqa: PLC0415 - takes a second, and is not needed for others

    undecoded = datasets.Image(decode=False)
    tables = []
    for name, part in parts.items():
        if column not in part.features:
            raise InputError(
                f"{subject}: expected the column {column!r} (image) in every split, got none in {name!r}; name another with "
                "#image=COLUMN"
            )
        try:
            tables.append(part.select_columns([column]).cast_column(column, undecoded))
        # The library raises its readers' errors, which have no common base class.
        except Exception as error:
            raise InputError(
                f"{subject}: expected images in column {column!r} of the split {name!r}, got "
                f"{type(part.features[column]).__name__}; name another with #image=COLUMN"
            ) from error
    return datasets.concatenate_datasets(tables)
