"""What a device is called, and what is said of one that is not there."""

from __future__ import annotations

import pytest
import torch

from domain_masks.devices import choose_device
from domain_masks.errors import InputError


def test_devices_by_name() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("tpu", "cuda:x", ""):
        with pytest.raises(InputError, match="unknown device"):
            choose_device(name)
    with pytest.raises(InputError, match="use cpu, or auto"):
        choose_device(f"cuda:{torch.cuda.device_count()}")
