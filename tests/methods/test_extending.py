"""The method of docs/extending.md is real: its code is taken from the page and trained."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

import domain_masks as dm
from domain_masks.cli import main
from domain_masks.errors import InputError
from domain_masks.methods import METHODS
from domain_masks.methods.saving import load_model
from domain_masks.randomness import seeded
from domain_masks.records.metrics_log import MetricsLog

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the page's first block as a user's own module; METHODS and sys.modules are put back afterwards."""
    file = tmp_path / "mixup.py"
    file.write_text(BLOCKS[0], encoding="utf-8")
    # The page's last line sets it for good; set here first, it is removed again.
    monkeypatch.setitem(METHODS, "mixup", METHODS["aggregate"])
    specification = importlib.util.spec_from_file_location("mixup_of_the_page", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "mixup_of_the_page", module)
    specification.loader.exec_module(module)
    assert METHODS["mixup"] is module.Mixup
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("registered")
def test_the_pages_method_trains(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    exec(BLOCKS[1], names)
    run = names["run"]
    assert isinstance(run, dm.training.Run)
    assert run.results.method == "mixup"
    assert run.results.epochs_run == 1
    assert run.out_of_domain is not None
    assert set(run.results.out_of_domain["by_ensemble"]) == {"predictions"}
    method, card = load_model(tmp_path / "runs" / "mixup")
    assert card["method"] == {"name": "mixup", "strongest": 0.5}
    (epoch,) = MetricsLog(run.folder.metrics).read()
    assert epoch["step"] == 2
    with seeded(0, "initialisation/backbone"):
        untrained = dm.networks.build_backbone("small", 10)
    trained = dict(method.network.network.named_parameters())
    assert not any(torch.equal(trained[name], parameter) for name, parameter in untrained.named_parameters())


@pytest.mark.usefixtures("registered")
def test_its_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"method\.strongest: .*less than or equal to 1"):
        dm.train(method={"name": "mixup", "strongest": 2.0}, out=tmp_path / "run")


@pytest.mark.usefixtures("registered")
def test_it_is_listed_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "mixup"]) == 0
    assert "--method.strongest (default: 1.0)  largest share that the partner gets" in capsys.readouterr().out
