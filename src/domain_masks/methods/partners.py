"""Draw a partner from another source domain for each image of a batch, for methods that mix two images."""

from __future__ import annotations

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.devices import moved
from domain_masks.methods.base import random_of


def ring_of_domains(batch: DomainBatch, stream: str, count: int) -> list[int]:
    """Return all ``count`` domains in a random order, equal on all processes: partners are from the next domain."""
    order: list[int] = random_of(batch).once(f"{stream}/ring", count).argsort().tolist()
    return order


def partners_in_next_domain(batch: DomainBatch, stream: str, count: int) -> Tensor:
    """Return, for each row of this process, the row in the global batch of a partner from the next domain in the ring; (n,).

    If the batch is balanced over domains, every image is the partner of exactly one other, as in DomainBed; otherwise images of
    small domains are partners several times. If the batch has a single domain, partners are from that domain.

    - ``count``: D, number of source domains

    All processes must call it together.
    """
    # On the host, where domains and draws are known: boolean masks on a GPU would synchronise with it.
    random = random_of(batch)
    order = random.permutation_of_all(stream)
    shuffled = batch.host_domains()[order]
    rows = [order[shuffled == domain] for domain in ring_of_domains(batch, stream, count)]
    present = [members for members in rows if len(members)]
    partners = torch.empty_like(order)
    for own, others in zip(present, [*present[1:], *present[:1]], strict=True):
        partners[own] = others[torch.arange(len(own)) % len(others)]
    return moved(partners[random.first : random.first + random.count], batch.device)
