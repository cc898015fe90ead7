"""What is read from a run, and what a notebook shows of it and of what comes from it."""

from __future__ import annotations

from pathlib import Path

import domain_masks as dm
from domain_masks.calls import TrainedRun


def test_a_run_is_a_path_and_has_its_files_as_tables(run: TrainedRun) -> None:
    assert Path(run) == run.folder.path
    assert list(run.metrics["epoch"]) == [1]
    assert run.metrics["loss"].notna().all()
    assert run.predictions.sources == tuple(run.results.sources)
    assert run.model is run.model


def test_a_notebook_shows_tables_and_figures(run: TrainedRun, image: Path) -> None:
    shown = {
        "run": run._repr_html_(),
        "under an ensemble": dm.evaluate(run, ensemble="masks", quiet=True)._repr_html_(),
        "model": run.model._repr_html_(),
        "predictions": dm.predict(run, image, quiet=True)._repr_html_(),
        "analyses": dm.analyze(run, no_images=True, quiet=True)._repr_html_(),
    }
    for name, page in shown.items():
        assert page.count("<table>") >= 1, name
        assert page.count("<div>") == page.count("</div>"), name
    for name in ("run", "predictions", "analyses"):
        assert "<img src=" in shown[name], name
    assert "masks " in shown["under an ensemble"]
    assert "predictions " not in shown["under an ensemble"].partition("mask site")[0]


def test_what_is_returned_has_one_line(run: TrainedRun) -> None:
    for shown in (run, run.results, run.model, run.predictions, run.folder, dm.data.load_dataset("digits")):
        assert "\n" not in repr(shown)
        assert len(repr(shown)) < 300
