"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import domain_masks
from domain_masks.lazy import modules_of

ROOT = Path(domain_masks.__file__).parent
PACKAGES = sorted(
    ".".join(("domain_masks", *path.parent.relative_to(ROOT).parts))
    for path in ROOT.rglob("__init__.py")
    if "\nattach(__name__)" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_name_of_a_package_has_a_module(name: str) -> None:
    package = importlib.import_module(name)
    modules = modules_of(name)
    assert set(package.__all__) <= {*modules, *vars(package)}
    assert set(modules) <= set(dir(package))
    for module in modules.values():
        path = ROOT.joinpath(*module.split(".")[1:])
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_a_name_is_imported_with_its_first_use() -> None:
    sys.modules.pop("domain_masks.evaluation.calibration", None)
    evaluation = importlib.import_module("domain_masks.evaluation")
    vars(evaluation).pop("reliability", None)
    assert evaluation.reliability.__module__ == "domain_masks.evaluation.calibration"
    assert "domain_masks.evaluation.calibration" in sys.modules
    with pytest.raises(AttributeError, match=r"module 'domain_masks.evaluation' has no attribute 'reliabilty'"):
        _ = evaluation.reliabilty
