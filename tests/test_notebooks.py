"""The notebooks run from the first cell to the last in a kernel of their own, and are committed without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
QUICK = ("04_own_network_audio",)
WITH_BARS = ("01_first_run", "05_new_method")
"""Notebooks with a call that is not quiet."""
SHOWN = {
    "01_first_run": ["TrainedRun", "Benchmark", "AnalyzedRun"],
    "02_own_folder": ["TrainedRun", "Model"],
    "05_new_method": ["TrainedRun", "Benchmark"],
}
"""Notebook -> objects that it shows as HTML, by the beginning of their one-line text."""


def notebooks() -> list[Any]:
    return [
        pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else pytest.mark.slow) for path in NOTEBOOKS
    ]


@pytest.mark.parametrize("path", notebooks())
@pytest.mark.timeout(600)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if output.output_type == "execute_result" and "text/html" in output.data]
    for name in SHOWN.get(path.stem, ()):
        assert any(data["text/plain"].lstrip("[").startswith(f"{name}(") for data in shown), name
    for data in shown:
        # Data frames and lists of predictions print their content.
        plain = data["text/plain"]
        assert "\n" not in plain or "dataframe" in data["text/html"] or plain.startswith("[Prediction(")
    assert any("application/vnd.jupyter.widget-view+json" in output.get("data", {}) for output in outputs) == (
        path.stem in WITH_BARS
    )
    errors = [output.text for output in outputs if output.get("name") == "stderr" and "Warning" in output.text]
    assert not errors


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_is_valid_and_has_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert notebook.cells[0].source.startswith("# ")
