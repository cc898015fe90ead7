"""Class activation maps over their images."""

from __future__ import annotations

import numpy as np
import torch

from domain_masks.data.overlays import SIDE, overlaid


def test_what_is_drawn() -> None:
    pixels = np.full((32, 32, 3), 100, dtype=np.uint8)
    heat = torch.zeros(32, 32)
    heat[:8, :8] = 3.0
    shown = np.asarray(overlaid(pixels, heat)).astype(int)
    assert shown.shape == (SIDE, SIDE, 3)
    assert (shown[-10, -10] == 100).all()
    assert shown[10, 10].max() > 150
    assert (np.asarray(overlaid(pixels, torch.zeros(32, 32))) == np.asarray(overlaid(pixels))).all()
