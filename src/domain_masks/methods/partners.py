"""A partner of another source domain for every image of a batch, as methods that mix two images need it."""

from __future__ import annotations

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.methods.base import domains_of, random_of


def ring_of_domains(batch: DomainBatch, stream: str, count: int) -> list[int]:
    """Return all ``count`` domains in a random order, the same on all processes: each is followed by that of its partners."""
    order: list[int] = random_of(batch).once(f"{stream}/ring", count).argsort().tolist()
    return order


def partners_in_next_domain(batch: DomainBatch, stream: str, count: int) -> Tensor:
    """Return for each row of this process its partner's row in the global batch, (n,): one of the next domain in the ring.

    In batches with equal parts of all domains every image is the partner of one other, as in DomainBed; else those of small
    domains come more than once. A domain that is alone in the batch finds its partners in itself.

    - ``count``: D, how many source domains there are

    All processes call it together.
    """
    random = random_of(batch)
    order = batch.gather(random.permutation(stream, device=batch.device))
    shuffled = batch.gather(domains_of(batch))[order]
    rows = [order[shuffled == domain] for domain in ring_of_domains(batch, stream, count)]
    present = [of_one for of_one in rows if len(of_one)]
    partners = torch.empty_like(order)
    for own, others in zip(present, [*present[1:], *present[:1]], strict=True):
        partners[own] = others[torch.arange(len(own), device=own.device) % len(others)]
    return partners[random.first : random.first + random.count]
