"""A sequence of texts in one buffer, for indexes of many images that several processes read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, overload

import numpy as np
import numpy.typing as npt

_CHUNK = 65_536
_ERRORS = "surrogatepass"
"""File names whose bytes are not UTF-8 hold surrogates."""


class PackedTexts(Sequence[str]):
    """Texts as UTF-8 in one array, and where each ends.

    A tuple of strings costs 50 bytes more per text, and reading a string changes its reference count: in a forked worker that
    copies the page that it lies on, until each worker has its own copy of the index. Equal to any sequence of equal texts.

    - ``buffer``: uint8, all texts one after another; ``ends``: (N,) int64
    - ``shared``: the same as tensors in shared memory, once they have been sent to a process that was not forked
    """

    def __init__(self, texts: Iterable[str]) -> None:
        remaining = iter(texts)
        packed, lengths = bytearray(), []
        while chunk := list(islice(remaining, _CHUNK)):
            encoded = "".join(chunk).encode("utf-8", _ERRORS)
            characters = sum(map(len, chunk))
            sizes = (
                map(len, chunk) if len(encoded) == characters else (len(one.encode("utf-8", _ERRORS)) for one in chunk)
            )
            packed += encoded
            lengths.append(np.fromiter(sizes, np.int64, len(chunk)))
        self.buffer: npt.NDArray[np.uint8] = np.frombuffer(packed, np.uint8)
        self.ends: npt.NDArray[np.int64] = np.concatenate([np.zeros(0, np.int64), *lengths]).cumsum()
        self.shared: Any = None

    @classmethod
    def of(cls, buffer: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> PackedTexts:
        """Return the texts that lie in ``buffer``."""
        texts = cls(())
        texts.buffer, texts.ends = buffer, ends
        return texts

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> tuple[str, ...]: ...
    def __getitem__(self, row: int | slice) -> str | tuple[str, ...]:
        """Return one text; several, as a tuple, for a slice."""
        if isinstance(row, slice):
            first, last, step = row.indices(len(self))
            return (
                tuple(self._between(first, last)) if step == 1 else tuple(self[one] for one in range(first, last, step))
            )
        end = int(self.ends[row])
        first = row == 0 or row == -len(self)
        return self.buffer[0 if first else int(self.ends[row - 1]) : end].tobytes().decode("utf-8", _ERRORS)

    def __iter__(self) -> Iterator[str]:
        return self._between(0, len(self))

    def _between(self, first: int, last: int) -> Iterator[str]:
        start = int(self.ends[first - 1]) if first else 0
        for row in range(first, last, _CHUNK):
            ends = self.ends[row : min(row + _CHUNK, last)].tolist()
            chunk, offset = self.buffer[start : ends[-1]].tobytes(), start
            for end in ends:
                yield chunk[start - offset : end - offset].decode("utf-8", _ERRORS)
                start = end

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedTexts):
            return np.array_equal(self.ends, other.ends) and np.array_equal(self.buffer, other.buffer)
        if isinstance(other, tuple | list):
            return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} texts)"

    def __getstate__(self) -> dict[str, Any]:
        return {"buffer": self.buffer, "ends": self.ends, "shared": None}
