"""Methods of one's own by ``--plugin`` and by entry points: found where they are named, recorded, and never by a model file."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import domain_masks as dm
from domain_masks.cli import main
from domain_masks.data import identified, load_dataset
from domain_masks.errors import InputError
from domain_masks.experiments.plan import leave_one_out
from domain_masks.methods import METHODS, load_plugins, method_registry, plugins
from domain_masks.methods.method_registry import Methods
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import parse_config
from domain_masks.sampling import SAMPLING
from trees_of_images import clean

CODE = '''
from typing import ClassVar

from pydantic.dataclasses import dataclass

from domain_masks.methods import METHODS, Aggregate, Paper, Settings
from domain_masks.sampling import SAMPLING, pooled_batches


@dataclass(frozen=True)
class OwnSettings(Settings):
    """Settings."""

    factor: float = 1.0
    """of the loss"""


class Own(Aggregate):
    """Aggregate with a factor."""

    name = "own"
    summary = "a factor before the loss"
    paper = Paper("None", "Nobody", "2026")
    Settings: ClassVar = OwnSettings

    def training_loss(self, batch):
        return {name: self.settings.factor * term for name, term in super().training_loss(batch).items()}


METHODS["own"] = Own
SAMPLING["in_order"] = lambda domains, batch, seed, epoch: pooled_batches(domains, batch, 0, 0)
'''
FAST = ["--backbone", "small", "--weights", "none", "--size", "16", "--fast", "--quiet", "--device", "cpu"]


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let nothing be known of plugins before and after, as in another process."""
    monkeypatch.chdir(tmp_path)
    path, modules = [*sys.path], {*sys.modules}
    yield
    forget()
    sys.path[:] = path
    for name in {*sys.modules} - modules:
        if name.startswith(("domain_masks_plugin_", "own")):
            del sys.modules[name]


def forget() -> None:
    """Forget what plugins have added, as a new process has it."""
    METHODS.data.pop("own", None)
    SAMPLING.pop("in_order", None)
    plugins._LOADED.clear()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "code" / "own.py"
    file.parent.mkdir()
    file.write_text(CODE, encoding="utf-8")
    clean(tmp_path / "images")
    return file


def train(*flags: str) -> int:
    return main(["train", "--dataset", "images", "--target", "sketch", *FAST, *flags])


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one message of a command that is refused."""
    assert main([*words]) == 2
    message = capsys.readouterr().err
    assert message.startswith("dmg: ")
    assert message.count("\n") == 1
    return message


def test_a_file_is_found_by_all_command_and_kept_with_the_run(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--plugin", "code/own.py", "--method", "own", "--method.factor", "0.5", "--out", "run") == 0
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert config["plugin"] == [str(own)]
    assert config["method"] == {"name": "own", "factor": 0.5}
    card = json.loads(Path("run/model.json").read_text())
    # Of the folders of this machine a model says nothing.
    assert card["plugin"] == "own.py"
    assert main(["methods", "own", "--plugin", "code/own.py"]) == 0
    assert "--method.factor (default: 1.0)  of the loss" in capsys.readouterr().out
    image = str(next(Path("images/sketch").rglob("*.png")))
    for words in (
        ("evaluate", "run", "--device", "cpu", "--quiet"),
        ("predict", "run", image, "--device", "cpu"),
        ("export", "run", "--format", "pt2"),
    ):
        forget()
        message = told(capsys, *words)
        assert "unknown method 'own' of " in message
        assert "own.py: import that first" in message
        assert "--plugin" in message
        assert main([*words, "--plugin", "code/own.py"]) == 0
        assert capsys.readouterr().out
    forget()
    assert main(["report", "run", "--plugin", "code/own.py", "--quiet"]) == 0
    forget()
    with pytest.raises(InputError, match=r"unknown method 'own' of own\.py: import that first, in Python"):
        dm.load("run")


def test_a_run_goes_on_with_its_plugin_and_a_changed_one_is_said(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--plugin", "code/own.py", "--method", "own", "--sampling", "in_order", "--out", "run"]
    assert train(*flags) == 0
    forget()
    assert main(["train", "--resume", "--out", "run", "--quiet"]) == 0
    assert "own" in METHODS
    # As one that was interrupted, and whose method has been worked on since.
    Path("run/results.json").unlink()
    own.write_text(CODE.replace("factor * term", "factor * term * 2"), encoding="utf-8")
    forget()
    capsys.readouterr()
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert "has changed since the run was started" in capsys.readouterr().err


def states(plugin: str) -> dict[str, str]:
    """Return the name of every run of the benchmark, and whether it is done."""
    shared = {"dataset": "images", "backbone": "small", "weights": "none", "size": 16, "fast": True, "plugin": plugin}
    load_plugins([plugin])
    base = parse_config({**shared, "device": "cpu"})
    dataset = identified(load_dataset("images"), base, ConsoleReporter(quiet=True), decode_images=False)
    planned = leave_one_out(base, dataset, ["own", "aggregate"], ["sketch"], [0], Path("runs"))
    return {run.name: run.state for run in planned}


HELPED = CODE.replace(
    "from typing import ClassVar", "from typing import ClassVar\n\nfrom own_parts import FACTOR", 1
).replace("self.settings.factor * term", "FACTOR * term")


@pytest.mark.parametrize("plugin", ["code/own.py", "own", "own_package", "own_package.main"])
def test_code_beside_a_plugin_is_part_of_it(tmp_path: Path, plugin: str) -> None:
    folder = {"code/own.py": "code", "own": "."}.get(plugin, "own_package")
    (tmp_path / folder).mkdir(exist_ok=True)
    text, relative = HELPED, HELPED.replace("from own_parts", "from .own_parts")
    main_file = tmp_path / folder / "own.py"
    if folder == "own_package":
        text, main_file = relative, tmp_path / folder / "main.py"
        (tmp_path / folder / "__init__.py").write_text("from own_package import main\n" if plugin == folder else "")
    main_file.write_text(text, encoding="utf-8")
    parts = tmp_path / folder / "own_parts.py"
    parts.write_text("FACTOR = 0.5\n")
    clean(tmp_path / "images")

    def factor() -> float:
        load_plugins([plugin])
        return METHODS["own"].training_loss.__globals__["FACTOR"]

    assert train("--plugin", plugin, "--method", "own", "--out", "runs/own/sketch/seed-0") == 0
    assert states(plugin)["own/sketch/seed-0"] == "done"
    assert factor() == 0.5
    parts.write_text("FACTOR = 0.25\n")
    assert factor() == 0.25
    (other, state), _ = states(plugin).items()
    assert other.startswith("own/sketch/seed-0-")
    assert state == "pending"


@pytest.mark.slow
@pytest.mark.usefixtures("own")
def test_a_benchmark_finds_it_in_other_processes() -> None:
    words = [
        "benchmark",
        "--dataset",
        "images",
        "--targets",
        "sketch",
        "--plugin",
        "code/own.py",
        "--out",
        "runs",
        *FAST,
    ]
    # The one job goes to another process.
    assert main([*words, "--methods", "own", "--jobs", "2"]) == 0
    assert states("code/own.py")["own/sketch/seed-0"] == "done"


def test_a_benchmark_knows_its_content(own: Path) -> None:
    words = [
        "benchmark",
        "--dataset",
        "images",
        "--targets",
        "sketch",
        "--plugin",
        "code/own.py",
        "--out",
        "runs",
        *FAST,
    ]
    assert main([*words, "--methods", "own", "aggregate"]) == 0
    assert states("code/own.py") == {"own/sketch/seed-0": "done", "aggregate/sketch/seed-0": "done"}
    assert yaml.safe_load(Path("runs/benchmark.yaml").read_text())["plugin"] == ["code/own.py"]
    kept = [yaml.safe_load(Path(f"runs/{name}/sketch/seed-0/config.yaml").read_text()) for name in ("own", "aggregate")]
    assert [config["plugin"] for config in kept] == [[str(own)], []]
    # Another method under the same name has not been run yet; that of the package has.
    own.write_text(CODE.replace("factor * term", "factor * term * 2"), encoding="utf-8")
    (other, state), (_, same) = states("code/own.py").items()
    assert other.startswith("own/sketch/seed-0-")
    assert (state, same) == ("pending", "done")
    # The same in another place.
    shutil.move("code", "elsewhere")
    Path("elsewhere/own.py").write_text(CODE, encoding="utf-8")
    forget()
    assert states("elsewhere/own.py") == {"own/sketch/seed-0": "done", "aggregate/sketch/seed-0": "done"}


def test_a_module_is_found_below_the_working_folder(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("ownpackage").mkdir()
    shutil.copy(own, "ownpackage/code.py")
    assert main(["methods", "own", "--plugin", "ownpackage.code"]) == 0
    assert "a factor before the loss" in capsys.readouterr().out
    assert str(Path.cwd()) not in sys.path


def test_a_model_of_a_method_that_is_now_this_packages_is_not_taken_for_it(own: Path) -> None:
    assert train("--plugin", "code/own.py", "--method", "own", "--out", "run") == 0
    forget()
    METHODS["own"] = METHODS["aggregate"]
    card = json.loads(Path("run/model.json").read_text())
    Path("run/model.json").write_text(json.dumps({**card, "method": {"name": "own"}}))
    with pytest.raises(InputError, match=r"unknown method 'own' of own\.py"):
        dm.load("run")
    with pytest.raises(InputError, match=r"the run is of a plugin that is not imported here: add --plugin .*own\.py"):
        dm.training.evaluate("run")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import torch\n\nx = (\n", "own.py', line 3: SyntaxError: '(' was never closed"),
        ("def f():\n    return nothing\n\n\nf()\n", "own.py', line 2: NameError: name 'nothing' is not defined"),
        ("import no_such_thing\n", "own.py', line 1: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("import sys\nsys.exit(3)\n", "own.py', line 2: SystemExit: 3"),
        (
            CODE.replace('METHODS["own"]', 'METHODS["dmg"]'),
            "registers Own as 'dmg', the name of a method of this package",
        ),
        (
            CODE.replace('METHODS["own"] = Own', ""),
            "defines a method without registering it: expected a line such as",
        ),
    ],
)
def test_a_broken_file_is_one_message_with_the_line(
    code: str, said: str, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = dict(METHODS.data)
    own.write_text(code, encoding="utf-8")
    assert said in told(capsys, "methods", "--plugin", "code/own.py")
    assert METHODS.data == before
    # A module below the working folder likewise, where only the plugin's import looks.
    sys.path[:] = [place for place in sys.path if place not in ("", str(Path.cwd()))]
    Path("own_module.py").write_text(code, encoding="utf-8")
    assert said.replace("own.py'", "own_module'") in told(capsys, "methods", "--plugin", "own_module")
    assert METHODS.data == before
    own.write_text(CODE, encoding="utf-8")
    load_plugins(["code/own.py"])
    assert "own" in METHODS


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.py", "plugin 'nowhere.py': no such file"),
        ("no.such.module", "plugin 'no.such.module': no such module here"),
    ],
)
def test_one_that_is_not_there_is_told(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["methods", "--plugin", name], ["train", "--plugin", name, "--method", "own"]):
        assert said in told(capsys, *words)
    Path("run.yaml").write_text(f"plugin: {name}\nmethod: own\n")
    assert said in told(capsys, "train", "--config", "run.yaml")
    assert said in told(capsys, "benchmark", "--config", "run.yaml")


def installed(folder: Path, value: str) -> Path:
    """Make an installed package with an entry point."""
    info = folder / "ownpackage-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ownpackage\nVersion: 1.0\n")
    points = f"[{method_registry.ENTRY_POINTS}]\nown = {value}\ndmg = ownpackaged:Own\n"
    (info / "entry_points.txt").write_text(points)
    (folder / "ownpackaged.py").write_text(CODE.replace('METHODS["own"] = Own\n', ""))
    return folder


def test_an_installed_package_adds_methods(
    tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(installed(tmp_path / "site", "ownpackaged:Own"))
    monkeypatch.setattr(METHODS, "_packaged", None)
    assert train("--method", "own", "--out", "run") == 0
    assert METHODS["dmg"].__module__ == "domain_masks.methods.dmg"
    assert yaml.safe_load(Path("run/config.yaml").read_text())["plugin"] == ["ownpackaged"]
    assert json.loads(Path("run/model.json").read_text())["plugin"] == "ownpackaged"
    noted = json.loads(Path("run/environment.json").read_text())["inputs"]
    assert len(noted["plugins"]) == 1
    assert main(["methods"]) == 0
    assert "own " in capsys.readouterr().out
    assert own.is_file()


def test_one_of_a_broken_package_is_told_where_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed(tmp_path / "site", "ownpackaged:NoSuchClass"))
    known = Methods({"aggregate": "domain_masks.methods.aggregate:Aggregate"})
    assert {*known} >= {"aggregate", "own"}
    assert known["aggregate"].name == "aggregate"
    with pytest.raises(InputError, match=r"method 'own' of the installed package 'ownpackaged': .*NoSuchClass"):
        known["own"]
