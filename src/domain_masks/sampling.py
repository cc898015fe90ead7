"""The rows of each batch of an epoch: pure functions of (seed, epoch), the same on every machine.

Both kinds of sampling take ``domains`` ((N,) int64, the domain of each training row), the batch size, the seed and the
epoch, and return ceil(N / batch_size) arrays of positions 0..N-1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from domain_masks.errors import InputError

# Settings and `--help` need only the names of the kinds of sampling: NumPy is imported where something is drawn.
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Int64Array: TypeAlias = npt.NDArray[np.int64]


def keyed_permutation(count: int, seed: int, stream: str, step: int = 0) -> Int64Array:
    """Return a permutation of 0..count-1 that depends on (seed, stream, step) only.

    Sorts raw bits of PCG64, whose stream numpy guarantees, unlike that of its ``Generator.permutation``.
    """
    import numpy as np  # noqa: PLC0415

    from domain_masks.randomness import key  # noqa: PLC0415

    bits = np.random.PCG64(key(seed, stream, step)).random_raw(count)
    return np.argsort(bits, kind="stable").astype(np.int64)


def _check(domains: Int64Array, batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"expected a batch size of 1 or more, got {batch_size}")
    if len(domains) == 0:
        raise InputError("expected at least one training image, got none")


def pooled_batches(domains: Int64Array, batch_size: int, seed: int, epoch: int) -> list[Int64Array]:
    """Cut one shuffled list of all rows into batches; the last one may be smaller.

    Every row occurs exactly once. Raises InputError if there is no row or the batch size is below 1.
    """
    _check(domains, batch_size)
    order = keyed_permutation(len(domains), seed, "order/pooled", epoch)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _endless_rows(rows: Int64Array, domain: int, seed: int, epoch: int) -> Iterator[int]:
    """Yield the rows of a domain endlessly, in a new order on every pass."""
    passes = 0
    while True:
        yield from rows[keyed_permutation(len(rows), seed, f"order/balanced/{domain}/{passes}", epoch)].tolist()
        passes += 1


def balanced_batches(domains: Int64Array, batch_size: int, seed: int, epoch: int) -> list[Int64Array]:
    """Fill every batch with equally many rows of each domain.

    Remaining rows go to the domains in turn, so that no two domains differ by more than one row in any batch. There
    are as many batches as with pooled sampling, all of them full; smaller domains are reshuffled and repeated, and larger
    ones are not seen whole in one epoch. Domains alternate within a batch, so that parts of a batch are balanced as well.
    Raises InputError if there is no row or the batch size is below 1.
    """
    import numpy as np  # noqa: PLC0415

    _check(domains, batch_size)
    present = np.unique(domains).tolist()
    streams = [_endless_rows(np.flatnonzero(domains == domain), domain, seed, epoch) for domain in present]
    batches = []
    turn = 0
    for _ in range(math.ceil(len(domains) / batch_size)):
        batches.append(
            np.array([next(streams[(turn + offset) % len(streams)]) for offset in range(batch_size)], dtype=np.int64)
        )
        turn = (turn + batch_size) % len(streams)
    return batches


SAMPLING: dict[str, Callable[[Int64Array, int, int, int], list[Int64Array]]] = {
    "pooled": pooled_batches,
    "balanced": balanced_batches,
}
"""Name -> the function that samples the batches. The setting ``sampling`` accepts whatever name is here."""
