"""Random numbers that are a pure function of (seed, stream, step).

There is no state: the same key gives the same numbers, whatever was drawn before. A run therefore does not depend
on the number of processes or workers, resuming needs no saved generator, and adding a stream changes no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

from domain_masks.torch_globals import EXCLUSIVE


def key(seed: int, stream: str, step: int = 0) -> int:
    """Return a 63-bit key for ``stream`` at ``step``; equal arguments give equal keys on every machine."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, stream: str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator on ``device``, seeded by :func:`key`."""
    import torch  # noqa: PLC0415 - keys are asked for without it

    return torch.Generator(device=device).manual_seed(key(seed, stream, step))


@contextmanager
def seeded(seed: int, stream: str, step: int = 0, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's global generators for the block and restore their state after it.

    For code that takes no generator: initialisation of layers, dropout, batch augmentation. On a CUDA device its
    generator is seeded as well.
    """
    import torch  # noqa: PLC0415

    kind = torch.device(device).type
    cuda = [torch.device(device)] if kind == "cuda" else []
    # All threads share the generators, so a second block waits until the first has ended.
    with EXCLUSIVE, torch.random.fork_rng(devices=cuda):
        number = key(seed, stream, step)
        if kind in ("cpu", "cuda"):
            # torch.manual_seed would seed all devices as well, which takes half a millisecond and is not restored.
            torch.default_generator.manual_seed(number)
        else:
            torch.manual_seed(number)
        for own in cuda:
            index = torch.cuda.current_device() if own.index is None else own.index
            torch.cuda.default_generators[index].manual_seed(number)
        yield


_REPETITIONS: ContextVar[int] = ContextVar("repetitions", default=1)


def repetitions() -> int:
    """Return how often the rows of the batch are repeated along the first axis; see :func:`repeated`."""
    return _REPETITIONS.get()


@contextmanager
def repeated(times: int) -> Iterator[None]:
    """Declare that within the block the first axis holds the whole batch ``times`` times, as for the masks of all domains.

    The random numbers of layers for the rows of one process are then cut from the right places.
    """
    token = _REPETITIONS.set(_REPETITIONS.get() * times)
    try:
        yield
    finally:
        _REPETITIONS.reset(token)


_SELECTED: ContextVar[tuple[int, int, int] | None] = ContextVar("selected", default=None)


@contextmanager
def selected(first: int, count: int, total: int) -> Iterator[None]:
    """Declare that within the block the first axis holds only some rows of the batch, such as those of one domain.

    There are ``count`` on this process, from position ``first`` on among the ``total`` of all processes, in the order of the
    batch. The random numbers of layers are then cut from those that one process with all of them would draw.
    """
    token = _SELECTED.set((first, count, total))
    try:
        yield
    finally:
        _SELECTED.reset(token)


@dataclass(frozen=True)
class BatchRandomness:
    """The random numbers of one batch: drawn for the global batch, then cut to this process's rows.

    ``seed`` and ``step`` are the key; ``first`` is the index of this process's first row in the global batch, ``count``
    how many rows it has, ``total`` the rows of the global batch.
    """

    seed: int
    step: int
    first: int
    count: int
    total: int

    def uniform(self, stream: str, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """Return uniform numbers in [0, 1), shape (count, *shape), keyed by (seed, stream, step)."""
        import torch  # noqa: PLC0415

        source = generator(self.seed, stream, self.step, device)
        return self._own(torch.rand(self.total, *shape, generator=source, device=device))

    def normal(self, stream: str, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """Return numbers of N(0, 1), shape (count, *shape), keyed by (seed, stream, step)."""
        import torch  # noqa: PLC0415

        source = generator(self.seed, f"{stream}/normal", self.step, device)
        return self._own(torch.randn(self.total, *shape, generator=source, device=device))

    def beta(self, stream: str, alpha: float, beta: float, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """Return numbers of Beta(``alpha``, ``beta``) in [0, 1], shape (count, *shape), keyed by (seed, stream, step).

        Raises ValueError unless both are above 0.
        """
        import torch  # noqa: PLC0415

        from domain_masks.devices import moved  # noqa: PLC0415

        if not (0 < alpha < float("inf") and 0 < beta < float("inf")):
            raise ValueError(f"expected alpha and beta above 0, got {alpha} and {beta}")
        source = generator(self.seed, f"{stream}/beta", self.step)
        # Gamma(a) is Gamma(a + 1) u^(1/a): in logarithms, as a small a leaves nothing of it in any precision.
        logarithms = []
        for concentration in (alpha, beta):
            shapes = torch.full((self.total, *shape), concentration + 1.0, dtype=torch.float64)
            tail = torch.rand(shapes.shape, generator=source, dtype=torch.float64)
            drawn = torch._standard_gamma(shapes, generator=source)
            logarithms.append(drawn.log() + torch.log1p(-tail) / concentration)
        return moved(self._own((logarithms[0] - logarithms[1]).sigmoid().float()), device)

    def keys(self, stream: str) -> Tensor:
        """Return a key of each row's own, int64 (count,) of 0 or more, keyed by (seed, stream, step); on the CPU."""
        import torch  # noqa: PLC0415

        source = generator(self.seed, f"{stream}/key", self.step)
        return self._own(torch.randint(2**63 - 1, (self.total,), generator=source))

    def permutation(self, stream: str, device: torch.device | str = "cpu") -> Tensor:
        """Return a partner for each row: (count,) int64, indices into the global batch, each of which occurs once over all.

        Used with the rows of all processes: ``batch.gather(features)[index]``. Keyed by (seed, stream, step).
        """
        from domain_masks.devices import moved  # noqa: PLC0415

        return moved(self._own(self.permutation_of_all(stream)), device)

    def permutation_of_all(self, stream: str) -> Tensor:
        """Return the :meth:`permutation` of all processes' rows, (total,) int64, on the CPU."""
        import torch  # noqa: PLC0415

        source = generator(self.seed, f"{stream}/permutation", self.step)
        return torch.randperm(self.total, generator=source)

    def once(self, stream: str, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """Return uniform numbers in [0, 1), shape (*shape), equal on all processes: for the batch, not for its rows."""
        import torch  # noqa: PLC0415

        source = generator(self.seed, f"{stream}/once", self.step, device)
        return torch.rand(shape, generator=source, device=device)

    def of_selected(self) -> BatchRandomness:
        """Return the numbers of this process's rows, or of the rows of :func:`selected` within its block."""
        place = _SELECTED.get()
        return self if place is None else replace(self, first=place[0], count=place[1], total=place[2])

    def _own(self, everything: Tensor) -> Tensor:
        return everything[self.first : self.first + self.count]

    @contextmanager
    def seeded(self, stream: str, device: torch.device | str = "cpu") -> Iterator[None]:
        """Seed torch's global generators for the block, keyed by (seed, stream, step); see :func:`seeded`."""
        with seeded(self.seed, stream, self.step, device):
            yield
