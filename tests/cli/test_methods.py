"""``dmg methods``: a table that fits, and of single methods what they do and what can be set, without waiting for torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import field

import pytest
from pydantic.dataclasses import dataclass

from domain_masks.cli import main
from domain_masks.methods import METHODS, Aggregate, Choice, Paper, Settings, Uniform
from domain_masks.methods.method_registry import described


@dataclass(frozen=True)
class BaseSettings(Settings):
    """Settings to inherit from."""

    rate: float = 0.5
    """of the inner steps"""


@dataclass(frozen=True)
class OwnSettings(BaseSettings):
    """Settings of a method of one's own."""

    steps: int = 3
    """inner steps"""
    order: str = "second"
    """first or second"""
    layers: tuple[str, ...] = field(default_factory=lambda: ("fc",))


class Own(Aggregate):
    """A method of one's own, which says everything."""

    name = "own"
    summary = "an inner loop"
    family = "meta-learning"
    paper = Paper(
        "A paper with a long title", "First, Second, Third, Fourth", "A conference with a very long name 2026"
    )
    needs = "images"
    cost = "2.9"
    fewest_sources = 3
    rows_per_domain = 4
    Settings = OwnSettings
    search = {  # noqa: RUF012
        "method.steps": Uniform(1, 5),
        "method.order": Choice(("first", "second")),
        "lr": Uniform(1e-4, 0.1, log=True),
    }


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setitem(METHODS, "own", Own)


def shown(capsys: pytest.CaptureFixture[str], *names: str) -> list[str]:
    assert main(["methods", *names]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_table_says_what_each_needs_costs_and_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys)
    rows = {line.split()[0]: line for line in lines[1 : 1 + len(METHODS)]}
    assert rows.keys() == METHODS.keys()
    assert all(described(name).family in rows[name] for name in METHODS)
    assert rows["own"].split()[1:6] == ["meta-learning", "images", "3", "4", "2.9"]
    assert "First et al., A conference with" in rows["own"]
    assert "Chattopadhyay et al., ECCV 2020" in rows["dmg"]
    places = {name: lines[0].index(name) for name in ("family", "needs", "paper")}
    for name, row in rows.items():
        assert row[places["family"] :].startswith(described(name).family)
        assert row[places["needs"] :].startswith(described(name).needs)


@pytest.mark.parametrize("width", [100, 80, 72])
def test_the_table_fits_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = shown(capsys)
    assert max(map(len, lines)) <= width
    assert all(len(line) <= width for line in shown(capsys, "own", "dmg"))


def test_a_method_is_shown_with_its_settings_and_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(shown(capsys, "own"))
    assert text.startswith(
        "own: an inner loop\n  First, Second, Third, Fourth: A paper with a long title. A conference"
    )
    assert "  meta-learning; needs images, so no frozen features; 3 sources or more; 4 images of every source" in text
    assert "  cost: 2.9 times the step of aggregate, as measured" in text
    assert "  defaults of its own: --sampling balanced" in text
    assert "  --method.rate (default: 0.5)  of the inner steps\n" in text
    assert "  --method.steps (default: 3)  inner steps; searched: 1 to 5\n" in text
    assert "  --method.order (default: second)  first or second; searched: first or second\n" in text
    assert "  --method.layers (default: ('fc',))" in text
    assert "  --lr  searched: 0.0001 to 0.1 (logarithmic)" in text


def test_an_unknown_method_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "dgm"]) == 2
    assert "Did you mean 'dmg'" in capsys.readouterr().err


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\n"
        "from domain_masks.cli import main\n"
        "main(['methods']), main(['methods', *__import__('domain_masks.methods.method_registry', fromlist=['x']).METHODS])\n"
        "sys.exit(str([name for name in ('torch', 'torchvision', 'timm', 'numpy', 'pandas') if name in sys.modules]"
        " or '') or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
