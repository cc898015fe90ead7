"""The wheel: everything that the package needs is in it, and an environment with it alone trains and predicts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

import pytest
from PIL import Image

import domain_masks

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(command: list[str | Path], folder: Path, **environment: str) -> str:
    """Run a command in a folder without this repository on its path; return its output."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=kept | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this source, built without a connection."""
    pytest.importorskip("hatchling", reason="hatchling is not installed: the extra `dev`")
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out], REPOSITORY)
    (built,) = out.glob("*.whl")
    return built


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    source = REPOSITORY / "src"
    files = {path.relative_to(source).as_posix() for path in (source / "domain_masks").rglob("*") if path.is_file()}
    expected = {name for name in files if "__pycache__" not in name}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("domain_masks-")}
    assert packed == expected
    assert {
        "domain_masks/py.typed",
        "domain_masks/deploy/demo/page.html",
        "domain_masks/deploy/hub/model_card.md",
    } <= packed


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        folder = f"domain_masks-{domain_masks.__version__}.dist-info"
        metadata = message_from_string(packed.read(f"{folder}/METADATA").decode())
        commands = packed.read(f"{folder}/entry_points.txt").decode()
    assert metadata["Name"] == "domain-masks"
    assert metadata["Version"] == domain_masks.__version__
    assert {*metadata.get_all("Provides-Extra", [])} == {*PROJECT["optional-dependencies"]}
    assert "dmg = domain_masks.cli:main" in commands


def test_the_wheel_starts_by_itself(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    script = "import domain_masks, domain_masks.cli as c; print(domain_masks.__file__); c.main(['--version'])"
    said = run([sys.executable, "-c", script], tmp_path, PYTHONPATH=str(tmp_path / "installed")).splitlines()
    assert said == [
        str(tmp_path / "installed" / "domain_masks" / "__init__.py"),
        f"domain-masks {domain_masks.__version__}",
    ]


def test_every_extra_is_on_the_page_about_installing() -> None:
    page = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
    rows = {name for cell in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert rows == {*PROJECT["optional-dependencies"]} - {"dev"}, "expected a row in docs/install.md for each extra"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """Return an environment with the wheel, built of the source archive, and what it requires."""
    pytest.importorskip("uv", reason="uv is not installed: `make test-slow` has it")
    uv: list[str | Path] = [sys.executable, "-m", "uv"]
    run([*uv, "build", "--quiet", "--out-dir", tmp_path / "dist", REPOSITORY], tmp_path)
    (built,) = (tmp_path / "dist").glob("*.whl")
    assert list((tmp_path / "dist").glob("*.tar.gz"))
    environment = tmp_path / "environment"
    run([*uv, "venv", "--quiet", "--python", sys.executable, environment], tmp_path)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    constraints = REPOSITORY / "constraints.txt"
    run([*uv, "pip", "install", "--quiet", "--python", scripts / "python", "-c", constraints, built], tmp_path)
    yield scripts
    # It takes gigabytes.
    shutil.rmtree(environment)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_empty_environment_with_the_wheel_trains_reports_and_predicts(empty: Path, tmp_path: Path) -> None:
    dmg = empty / "dmg"
    assert run([dmg, "--version"], tmp_path) == f"domain-masks {domain_masks.__version__}\n"
    installed = run([empty / "python", "-c", "import domain_masks; print(domain_masks.__file__)"], tmp_path)
    assert Path(installed.strip()).is_relative_to(empty.parent)
    said = run([dmg, "train", "--fast", "--out", "run"], tmp_path)
    assert "out of domain" in said
    run([dmg, "analyze", "run", "--quiet"], tmp_path)
    run([dmg, "report", "run", "--quiet"], tmp_path)
    assert "<svg" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    Image.new("RGB", (32, 32), (200, 30, 30)).save(tmp_path / "red.png")
    run([dmg, "predict", "run", "red.png", "--out", "votes.csv"], tmp_path)
    rows = (tmp_path / "votes.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 2
    assert "red.png" in rows[1]
    run([dmg, "export", "run", "--format", "pt2", "--quiet"], tmp_path)
