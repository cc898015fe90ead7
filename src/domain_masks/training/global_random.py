"""Random numbers of layers where several processes share a batch: those that one process with the whole batch would draw.

All forms of dropout, drop path, RReLU, dropout in attention and a network's own noise call a few random operations of PyTorch.
These draw here for the global batch, and each process keeps its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from domain_masks.batch import DomainBatch
from domain_masks.randomness import BatchRandomness, repetitions, seeded

_BY_VALUE = ("rrelu_with_noise", "poisson", "binomial", "_standard_gamma", "_sample_dirichlet")
"""Operations whose number of draws depends on the values of their inputs, which therefore have to be those of all rows."""
_OFF = {
    "native_dropout": lambda arguments: not arguments[1] or arguments[2] is False,
    "rrelu_with_noise": lambda arguments: len(arguments) < 5 or not arguments[4],
}


class GlobalRandom(TorchDispatchMode):
    """Makes every random operation within the block draw the numbers of this process's rows of the global batch.

    A tensor belongs to the batch if it was computed from it and its first axis holds its rows, each once or several times; a
    newly created tensor, if its first axis is as long as the batch. Any other new tensor gets the same numbers on all
    processes. A tensor that was computed from the batch and no longer has its rows gets numbers of each process's own, and
    its operation is added to ``uncut``, as one process would draw other numbers. Where only the rows of some domains are
    computed, a block of :func:`domain_masks.randomness.selected` says which.

    - ``batch``: this process's rows, with their place in the global batch
    """

    def __init__(self, batch: DomainBatch, random: BatchRandomness) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._random = random
        self.uncut: set[str] = set()
        self._of_batch: dict[int, StorageWeakRef] = {}
        self._own = 0
        for tensor in (batch.images, batch.features, batch.labels, batch.domains, batch.ids):
            self._follow(tensor)

    @property
    def random(self) -> BatchRandomness:
        """The position of the computed rows among those of all processes."""
        return self._random.of_selected()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation, or draw for the global batch, and mark results that depend on the batch."""
        keywords = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags and self._draws(func, args, keywords):
            return self._drawn(func, args, keywords)
        result = func(*args, **keywords)
        if any(map(self._is_followed, (*args, *keywords.values()))):
            self._follow(result)
        return result

    def _draws(self, func: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
        name = _name(func)
        if keywords.get("generator") is not None:
            return False
        if "attention" in name:
            return any(isinstance(value, float) and value > 0 for value in _named(func, args, keywords, "dropout_p"))
        return not (name in _OFF and _OFF[name](args))

    def _drawn(self, func: Any, args: Sequence[Any], keywords: dict[str, Any]) -> Any:
        first = next((value for value in args if isinstance(value, Tensor)), None)
        shape = tuple(first.shape) if first is not None else _size(args)
        followed = first is not None and self._is_followed(first)
        times = self._times(shape, followed)
        if times == 0 and not self._is_lost(func, args, shape, followed):
            return func(*args, **keywords)
        if times == 0 or "attention" in _name(func) or "out" in keywords:
            result = self._drawn_alone(func, args, keywords)
        else:
            result = self._cut_from(func, args, keywords, times)
        self._follow(result)
        return result

    def _times(self, shape: tuple[int, ...], followed: bool) -> int:
        """Return how often each row of the batch occurs on the first axis; 0 where it is not an axis of rows."""
        rows = self.random.count * repetitions()
        if not shape or shape[0] == 0 or shape[0] % rows:
            return 0
        if not followed:
            return int(shape[0] == rows)
        # Rows on the second axis, as in (places, N, channels), cannot be recognised.
        return 0 if shape[0] != rows and len(shape) > 1 and shape[1] == rows else shape[0] // rows

    def _is_lost(self, func: Any, args: Sequence[Any], shape: tuple[int, ...], followed: bool) -> bool:
        """Whether the drawn shape depends on the batch in an unknown way; a single row is shared by all."""
        if _name(func) == "randperm":
            return bool(args) and args[0] == self.random.count
        return followed and bool(shape) and shape[0] > 1

    def _drawn_alone(self, func: Any, args: Sequence[Any], keywords: dict[str, Any]) -> Any:
        self.uncut.add(_name(func))
        self._own += 1
        tensors = [value for value in (*args, *keywords.values()) if isinstance(value, Tensor)]
        device = tensors[0].device if tensors else torch.device(keywords.get("device") or "cpu")
        with seeded(self.random.seed, f"layers/{self.random.first}/{self._own}", self.random.step, device):
            return func(*args, **keywords)

    def _cut_from(self, func: Any, args: Sequence[Any], keywords: dict[str, Any], times: int) -> Any:
        rows = _Rows(self.random, repetitions(), times)
        name = _name(func)
        whole: list[Any] = []
        changed = [index for index, value in enumerate(args) if isinstance(value, Tensor) and _is_changed(func, index)]
        for index, value in enumerate(args):
            if isinstance(value, Tensor) and value.dim() and value.shape[0] == rows.here:
                whole.append(rows.of_all(value, filled=index not in changed, everywhere=name in _BY_VALUE))
            elif isinstance(value, Sequence) and not isinstance(value, str) and value is _size_in(args):
                whole.append([rows.everywhere, *value[1:]])
            else:
                whole.append(value)
        result = func(*whole, **keywords)
        for index in changed:
            args[index].copy_(rows.mine(whole[index]))
        if name.endswith("_"):
            return args[0]
        if isinstance(result, tuple | list):
            return type(result)(rows.mine(part) if isinstance(part, Tensor) else part for part in result)
        return rows.mine(result)

    def _is_followed(self, value: Any) -> bool:
        if isinstance(value, Tensor):
            return value.untyped_storage()._cdata in self._of_batch
        return isinstance(value, tuple | list) and any(map(self._is_followed, value))

    def _follow(self, value: Any) -> None:
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            # The reference keeps the address from being reused while it is listed.
            self._of_batch.setdefault(storage._cdata, StorageWeakRef(storage))  # type: ignore[no-untyped-call]
        elif isinstance(value, tuple | list):
            for part in value:
                self._follow(part)


class _Rows:
    """The rows of this process among those of the global batch, on the first axis of a tensor.

    - ``blocks``: how often the whole batch is repeated along the axis
    - ``times``: how often each row is repeated within a block
    """

    def __init__(self, random: BatchRandomness, blocks: int, times: int) -> None:
        self.random, self.blocks, self.times = random, blocks, times
        self.here = random.count * times * blocks
        self.everywhere = random.total * times * blocks

    def mine(self, whole: Tensor) -> Tensor:
        """Return this process's part of ``whole``."""
        first, last = self.random.first * self.times, (self.random.first + self.random.count) * self.times
        parts = self._blockwise(whole, self.random.total)[:, first:last]
        # Copied, so that the rest of the global batch is not kept alive.
        return _like(parts.flatten(0, 1), whole)

    def _blockwise(self, tensor: Tensor, rows: int) -> Tensor:
        return tensor.view(self.blocks, rows * self.times, *tensor.shape[1:])

    def of_all(self, mine: Tensor, filled: bool, everywhere: bool) -> Tensor:
        """Return a tensor for all rows, laid out in memory like ``mine``.

        - ``filled``: copy this process's rows into their place, and arbitrary values into the others
        - ``everywhere``: copy the other processes' rows into theirs
        """
        whole = _empty((self.everywhere, *mine.shape[1:]), mine)
        if not filled:
            return whole
        parts = self._blockwise(whole, self.random.total)
        first, last = self.random.first * self.times, (self.random.first + self.random.count) * self.times
        parts.zero_()
        parts[:, first:last] = self._blockwise(mine, self.random.count)
        if everywhere:
            torch.distributed.all_reduce(whole)
        return whole


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return an empty tensor with the memory layout of ``like``: numbers are drawn in the order of memory."""
    if like.is_contiguous():
        return like.new_empty(shape)
    order = sorted(range(like.dim()), key=lambda axis: -like.stride()[axis])
    back = [order.index(axis) for axis in range(like.dim())]
    return like.new_empty([shape[axis] for axis in order]).permute(back)


def _like(values: Tensor, like: Tensor) -> Tensor:
    made = _empty(tuple(values.shape), like)
    return made.copy_(values)


def _name(func: Any) -> str:
    return str(func._schema.name).rpartition("::")[2]


def _is_changed(func: Any, index: int) -> bool:
    arguments = func._schema.arguments
    info = arguments[index].alias_info if index < len(arguments) else None
    return info is not None and info.is_write


def _named(func: Any, args: Sequence[Any], keywords: Mapping[str, Any], name: str) -> list[Any]:
    positions = [index for index, argument in enumerate(func._schema.arguments) if argument.name == name]
    return [args[index] for index in positions if index < len(args)] + ([keywords[name]] if name in keywords else [])


def _size_in(args: Sequence[Any]) -> Sequence[Any] | None:
    return next((value for value in args if isinstance(value, Sequence) and not isinstance(value, str)), None)


def _size(args: Sequence[Any]) -> tuple[int, ...]:
    return tuple(_size_in(args) or ())
