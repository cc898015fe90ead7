"""What a device is called, and what is said of one that is not there."""

from __future__ import annotations

import pytest
import torch

import generated
from domain_masks.devices import choose_device, exact
from domain_masks.errors import InputError
from domain_masks.settings.validation import check_settings
from domain_masks.training.launching import launch


def test_devices_by_name() -> None:
    assert choose_device("cpu").type == "cpu"
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == best
    for name in ("tpu", "cuda:x", ""):
        with pytest.raises(InputError, match="unknown device"):
            choose_device(name)
    with pytest.raises(InputError, match="use cpu, or auto"):
        choose_device(f"cuda:{torch.cuda.device_count()}")


def test_apples_gpu_is_chosen_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in: no such device was at hand."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for there in (False, True):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=there: there)
        assert choose_device("auto").type == ("mps" if there else "cpu")
        if there:
            assert choose_device("mps") == torch.device("mps")
            with pytest.raises(InputError, match="'mps:1' is not available"):
                choose_device("mps:1")
        else:
            with pytest.raises(InputError, match="'mps' is not available here: use cpu"):
                choose_device("mps")


def test_double_precision_is_used_where_a_device_has_it() -> None:
    class OnApple:
        device = torch.device("mps")

        def float(self) -> str:
            return "single"

    assert exact(torch.ones(2)).dtype == torch.float64
    assert exact(OnApple()) == "single"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bf16"}, "precision: device mps computes in single precision, got bf16: use 32"),
        ({"devices": 2}, "devices: device mps is one device, got 2: use 1"),
    ],
)
def test_what_apples_gpu_does_not_have_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_settings({"device": "mps", **settings})
    assert str(caught.value) == message


def test_double_precision_of_a_closed_form_is_refused_on_apples_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for settings, message in (
        ({"method": "dica"}, "method 'dica' needs double precision, which device 'mps' lacks"),
        ({"precision": "bf16"}, "in one process and in single precision"),
    ):
        with pytest.raises(InputError, match=message):
            launch(generated.config(**settings).model_copy(update={"device": "mps"}))
