"""Mistakes that one process of a run finds before it is launched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from domain_masks.errors import DomainMasksError
from domain_masks.torchrun import torchrun


@contextmanager
def told_to_all(settings: Mapping[str, Any]) -> Iterator[None]:
    """Raise on all processes that torchrun has started what the block raises on one; the others would wait for it.

    - ``settings``: as they were given, unchecked
    """
    try:
        yield
    except DomainMasksError as problem:
        if torchrun() is None:
            raise

        from domain_masks.training.launching import tell_other_processes  # noqa: PLC0415 - it needs torch

        tell_other_processes(str(settings.get("device", "auto")), problem)
