"""The package as it is installed: quick to start, typed, one version."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import domain_masks

REPOSITORY = Path(__file__).parents[1]
HEAVY = ("torch", "lightning_fabric", "torchvision", "timm", "kornia", "sklearn", "pandas", "matplotlib")

STARTS = {
    "import": "import domain_masks",
    "dir": "import domain_masks; dir(domain_masks)",
    "help": "from domain_masks.cli import main; main(['--help'])",
    "version": "from domain_masks.cli import main; main(['--version'])",
    "help of a command": "from domain_masks.cli import main; main(['train', '--help'])",
    "unknown command": "from domain_masks.cli import main; main(['trian'])",
}


@pytest.mark.parametrize("code", STARTS.values(), ids=list(STARTS))
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    script = f"import sys\n{code}\nsys.stderr.write('|' + ' '.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = done.stderr.rpartition("|")[2].split()
    assert "domain_masks" in loaded
    assert not [name for name in HEAVY if name in loaded]


def test_the_command_is_the_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "domain_masks", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"domain-masks {domain_masks.__version__}\n"


def test_submodules_come_with_their_first_use() -> None:
    assert domain_masks.masks.soft_iou is not None
    assert "networks" in dir(domain_masks)
    with pytest.raises(AttributeError, match="no attribute 'maks'"):
        _ = domain_masks.maks


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert domain_masks.__version__ == project["version"]
    assert f"## [{project['version']}]" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(domain_masks.__file__).parent / "py.typed").is_file()


def test_constraints_pin_exact_versions_and_name_no_address() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(line.count("==") == 1 and not set("/@: ;") & set(line) for line in pins)
    pinned = {line.partition("==")[0] for line in pins}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert {text.partition(">")[0].lower() for text in named} <= pinned
