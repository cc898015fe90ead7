"""``dm.push``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import domain_masks as dm
from domain_masks.calls import TrainedRun
from domain_masks.errors import DownloadError, InputError
from hub_double import Hub, hub_of_models

FILES = {"model.json", "model.safetensors", "README.md"}


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_of_models(tmp_path, monkeypatch) as hub:
        hub.token = "hf_secret"
        yield hub


@pytest.fixture
def figure(run: TrainedRun) -> Iterator[Path]:
    path = run.folder.figures / "overlap.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x89PNG")
    yield path
    path.unlink()


def test_a_run_is_uploaded_as_by_the_command(hub: Hub, run: TrainedRun, figure: Path) -> None:
    pushed = dm.push(run, "someone/digits", token="hf_secret", quiet=True)
    repository = hub.repositories["someone/digits"]
    ((commit, files),) = repository.commits.items()
    assert repository.private
    assert pushed.url == f"{hub.url}/someone/digits/commit/{commit}"
    assert {name: len(content) for name, content in files.items()} == pushed.files
    # Other tests may have drawn more of the same run before.
    figures = {f"figures/{path.name}" for path in figure.parent.glob("*.png")}
    assert {*FILES, "figures/overlap.png"} <= set(files) <= FILES | figures
    assert files["README.md"].decode() == pushed.readme
    assert repr(pushed).startswith("Pushed(name='someone/digits', url='http://127.0.0.1")
    assert "figures/overlap.png" in pushed._repr_html_()
    assert dm.load("someone/digits", device="cpu", token="hf_secret").card == run.model.card


def test_a_model_in_memory_is_uploaded_without_figures(hub: Hub, run: TrainedRun, figure: Path) -> None:
    pushed = dm.push(run.model, "someone/digits", token="hf_secret", public=True, quiet=True)
    assert not hub.repositories["someone/digits"].private
    assert set(pushed.files) == FILES


def test_a_dry_run_uploads_nothing(hub: Hub, run: TrainedRun, figure: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pushed = dm.push(run, "someone/digits", dry_run=True, figures=False)
    assert (pushed.url, set(pushed.files), hub.requests) == (None, FILES, [])
    assert pushed.readme.startswith("---\nlibrary_name: domain-masks")
    assert "nothing was uploaded" in pushed._repr_html_()
    assert capsys.readouterr() == ("", "")


def test_what_cannot_be_uploaded_is_one_message(hub: Hub, run: TrainedRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name: expected OWNER/NAME, as in someone/sketches, got 'digits'"):
        dm.push(run, "digits")
    with pytest.raises(InputError, match="private: there is no such setting"):
        dm.push(run, "someone/digits", **{"private": True})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="there is no model in"):
        dm.push(tmp_path, "someone/digits")
    with pytest.raises(DownloadError, match=r"someone/digits: the Hub refused the request: .*hf auth login"):
        dm.push(run, "someone/digits", token="hf_other", quiet=True)
    assert hub.repositories == {}
