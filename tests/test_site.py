"""The documentation as a site: the options of the command line, and the build."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import domain_masks
from browser import browser
from domain_masks.cli.data import ACTIONS
from domain_masks.cli.main import COMMANDS

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def options() -> str:
    """Return what the page of the command line is given."""
    spec = importlib.util.spec_from_file_location("docs_command_line", DOCS / "command_line.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text: str = module.options_of_all_commands()
    return text


def test_every_command_has_a_section(options: str) -> None:
    names = [*COMMANDS, *(f"data {action}" for action in ACTIONS)]
    names.remove("data")
    assert sorted(re.findall(r"^## dmg (.*)$", options, re.MULTILINE)) == sorted(names)
    assert "<!-- options of every command -->" in (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["train", "benchmark", "predict", "data_check"])
def test_every_flag_of_help_is_an_option(command: str, options: str) -> None:
    parser: argparse.ArgumentParser = importlib.import_module(f"domain_masks.cli.{command}").parser()
    (section,) = re.findall(rf"^## {parser.prog}$(.*?)(?=^## |\Z)", options, re.MULTILINE | re.DOTALL)
    listed = re.findall(r"^```\{option\} (.*)$", section, re.MULTILINE)
    flags = {word for line in listed for word in re.findall(r"(?<![\w-])--[\w.]+", line)}
    shown = re.findall(r"^  (?:-\w, )?(--[\w.]+)", parser.format_help(), re.MULTILINE)
    assert flags == {*shown} - {"--help"}
    assert "%(" not in section
    assert "%%" not in section


def test_help_stays_as_it_is_written(options: str) -> None:
    assert (
        "```{option} --dataset NAME|DIR|MANIFEST\n\na name from `dmg data list`, a folder domain/class/image" in options
    )
    assert r"\_" in options, "an underscore outside of code would begin emphasis"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="Sphinx is not installed: the extra `docs`")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "-d",
        tmp_path / "trees",
        DOCS,
        tmp_path / "html",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    site = tmp_path / "html"
    pages = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    pages |= {Path("notebooks", path.name).with_suffix(".html") for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
    assert pages <= {path.relative_to(site) for path in site.rglob("*.html")}

    # The search finds the options, and the reference has every public function.
    assert "cmdoption-dmg-train-freeze_features" in (site / "searchindex.js").read_text(encoding="utf-8")
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    functions = [name for name in domain_masks.__all__ if not inspect.ismodule(getattr(domain_masks, name))]
    assert [name for name in functions if f'id="domain_masks.{name}"' not in page] == []


@pytest.mark.parametrize("name", ["report", "masks", "demo"])
def test_images_are_small_and_in_both_themes(name: str) -> None:
    for theme in ("light", "dark"):
        path = DOCS / "images" / f"{name}-{theme}.png"
        assert path.stat().st_size < 150_000
        with Image.open(path) as image:
            brightness = image.convert("L").getpixel((2, 2))
        assert isinstance(brightness, int | float)
        assert brightness > 200 if theme == "light" else brightness < 60


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_images_are_made_of_a_run(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="gradio is not installed: the extra `demo`")
    with browser():  # skips the test where it is missing
        pass
    for command in (["train", "--fast", "--out"], ["analyze"], ["report"]):
        subprocess.run([sys.executable, "-m", "domain_masks", *command, tmp_path / "run"], check=True)
    script = [sys.executable, DOCS / "screenshots.py", "--run", tmp_path / "run", "--out", tmp_path / "images"]
    subprocess.run(script, check=True)
    made = {path.name for path in (tmp_path / "images").iterdir()}
    assert made == {path.name for path in (DOCS / "images").iterdir()}
