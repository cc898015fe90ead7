"""Where the masks of a model agree and differ: how many neurons they share, and how many are one domain's alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from domain_masks.masks.functional import hard_masks


@dataclass(frozen=True, slots=True)
class SiteAgreement:
    """Neurons of one mask site by the hard masks 1[m > 0.5] that they are on in; the counts add up to ``size``.

    - ``shared``: on in all masks
    - ``only``: domain -> on in its mask alone
    - ``several``: on in more than one mask, not in all
    - ``off``: on in none
    """

    site: str
    size: int
    shared: int
    only: Mapping[str, int]
    several: int
    off: int


def site_agreements(mask_logits: Mapping[str, Tensor], domains: Sequence[str]) -> list[SiteAgreement]:
    """Return what the masks share at every site (Section 7.1's three kinds, the specific ones by domain).

    - ``mask_logits``: site -> (D, K)
    - ``domains``: the D names of the rows

    With one domain, what is on counts as shared.
    """
    return [_site_agreement(site, logits, domains) for site, logits in mask_logits.items()]


def _site_agreement(site: str, logits: Tensor, domains: Sequence[str]) -> SiteAgreement:
    hard = hard_masks(logits.detach()).cpu()
    masks_on = hard.sum(0)
    count = len(domains)
    alone = hard & (masks_on == 1) if count > 1 else torch.zeros_like(hard)
    return SiteAgreement(
        site=site,
        size=hard.shape[1],
        shared=int((masks_on == count).sum()),
        only={domain: int(row.sum()) for domain, row in zip(domains, alone, strict=True)},
        several=int(((masks_on > 1) & (masks_on < count)).sum()),
        off=int((masks_on == 0).sum()),
    )
