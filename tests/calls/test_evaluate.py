"""``dm.evaluate``."""

from __future__ import annotations

from pathlib import Path

import pytest

import domain_masks as dm
from domain_masks.calls import TrainedRun
from domain_masks.errors import InputError, RunFolderError


def test_a_run_is_evaluated_again_under_an_ensemble(run: TrainedRun) -> None:
    again = dm.evaluate(run, ensemble="masks", quiet=True)
    assert again.results.out_of_domain == run.results.out_of_domain
    measured = run.results.out_of_domain
    assert measured is not None
    assert again.accuracies["out_of_domain"].accuracy == pytest.approx(measured.by_ensemble["masks"])
    assert again.accuracies["out_of_domain"].by_ensemble == {"masks": pytest.approx(measured.by_ensemble["masks"])}
    assert run.accuracies["out_of_domain"] == measured


def test_what_cannot_be_evaluated_is_one_message(run: TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run"):
        dm.evaluate(tmp_path)
    with pytest.raises(InputError, match="unknown ensemble 'mask'"):
        dm.evaluate(run, ensemble="mask")
    with pytest.raises(InputError, match="ensembel: there is no such setting: did you mean ensemble"):
        dm.evaluate(run, **{"ensembel": "masks"})  # type: ignore[arg-type]
