"""The cores that a process may use."""

from __future__ import annotations

import os

import pytest

from domain_masks.cores import CORES_VARIABLE, cores, usual_readers
from domain_masks.errors import InputError


def test_a_process_has_the_cores_that_it_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CORES_VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert cores() == 3
    for share, expected in {"2": 2, "8": 3, "": 3}.items():
        monkeypatch.setenv(CORES_VARIABLE, share)
        assert cores() == expected
        assert (usual_readers(), usual_readers(2), usual_readers(4)) == (expected, expected // 2, 0)
    for share in ("0", "many", "-2"):
        monkeypatch.setenv(CORES_VARIABLE, share)
        with pytest.raises(InputError, match="DMG_CORES: expected a number of cores, 1 or more, got"):
            cores()
    monkeypatch.delenv(CORES_VARIABLE)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1
