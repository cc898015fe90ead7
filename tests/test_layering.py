"""Imports only go down: who may import whom, and no cycle between folders."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "domain_masks"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE

GROUND = {
    "cores",
    "devices",
    "errors",
    "keywords",
    "lazy",
    "processes",
    "randomness",
    "torch_globals",
    "torchrun",
    "batch",
    "sampling",
    "schedules",
    "progress",
    "records",
}
MODEL = {*GROUND, "masks", "networks", "methods"}
PARTS = {*MODEL, "data", "evaluation"}
ABOVE = {*PARTS, "settings", "training", "analysis", "deploy"}

ALLOWED: dict[str, set[str]] = {
    **dict.fromkeys(GROUND, GROUND),
    "masks": GROUND,
    "networks": {*GROUND, "masks"},
    "methods": {*GROUND, "masks", "networks"},
    "data": GROUND,
    # The settings of methods and their defaults, which need no torch.
    "evaluation": {*GROUND, "methods"},
    # What can be exported, and into which files predictions are written.
    "settings": {*PARTS, "deploy"},
    "training": {*PARTS, "settings"},
    "analysis": PARTS,
    "deploy": PARTS,
    "experiments": ABOVE,
    "report": {"errors", "keywords", "lazy", "records", "evaluation"},
    "estimator": {*GROUND, "masks", "networks"},
    "calls": {*ABOVE, "experiments", "report", PACKAGE},
    "cli": {*ABOVE, "experiments", "report", "calls", PACKAGE},
    "__main__": {"cli"},
}
"""Folder or module -> what it may import besides itself; the package, which imports lazily, is looked at apart."""


def modules(root: Path) -> dict[str, Path]:
    """Return dotted name -> file of every module below ``root``; a folder stands for its ``__init__``."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path
    return found


def imports(name: str, path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield (module, the name that is taken from it or "", line) for every import of a file, wherever in the file."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((base, alias.name, node.lineno) for alias in node.names)


def imported(name: str, path: Path, known: Collection[str]) -> Iterator[tuple[str, int]]:
    """Yield every module of the package that a file imports, wherever in the file, and the line."""
    for base, taken, line in imports(name, path):
        whole = f"{base}.{taken}"
        yield (whole if whole in known else base), line


def imports_between_files(root: Path) -> dict[str, set[str]]:
    """Return module -> the modules that it takes names from, wherever in the file, also for types alone.

    A name that a package only hands on counts as taken from the module that has it.
    """
    files = modules(root)
    handed_on = {
        name: {taken: base for base, taken, _ in imports(name, path)}
        for name, path in files.items()
        if path.stem == "__init__"
    }

    def owner(base: str, taken: str) -> str:
        source = handed_on.get(base, {}).get(taken, base)
        whole = f"{base}.{taken}"
        return owner(source, taken) if source != base else whole if whole in files else base

    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        owners = {owner(base, taken) for base, taken, _ in imports(name, path)}
        graph[name] = {other for other in owners if other in files and other not in (name, PACKAGE)}
    return graph


def circle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """Return the nodes of one circle, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def room(module: str) -> str:
    """Return the folder, or the module of the top level, that a dotted name lies in."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else PACKAGE


def arrows(root: Path) -> list[tuple[str, str, str]]:
    """Return (from, to, place) for every import between two rooms of the package."""
    files = modules(root)
    found = []
    for name, path in files.items():
        for target, line in imported(name, path, set(files)):
            if target.split(".")[0] == PACKAGE and room(target) != room(name):
                found.append((room(name), room(target), f"{path.relative_to(root)}:{line}"))
    return found


def forbidden(root: Path) -> list[str]:
    """Return a line for every import that the layers do not allow."""
    return [
        f"{place}: {source} imports {target}"
        for source, target, place in arrows(root)
        if source != PACKAGE and target not in ALLOWED.get(source, set())
    ]


def cycle(root: Path) -> list[str]:
    """Return the rooms of one cycle of imports, or nothing; the package itself imports lazily and is left out."""
    graph: dict[str, set[str]] = {}
    for source, target, _ in arrows(root):
        if PACKAGE not in (source, target):
            graph.setdefault(source, set()).add(target)
    return circle(graph)


def test_imports_go_down() -> None:
    assert forbidden(SOURCE) == []


def test_there_is_no_cycle_between_folders() -> None:
    assert cycle(SOURCE) == []


def test_there_is_no_cycle_between_files() -> None:
    assert circle(imports_between_files(SOURCE)) == []


def test_every_room_has_its_rule() -> None:
    rooms = {room(name) for name in modules(SOURCE)} - {PACKAGE}
    assert rooms <= set(ALLOWED), "a new folder needs a line in ALLOWED and in the design"
    assert {"masks", "networks", "methods", "data", "training", "cli"} <= rooms


def test_the_rules_themselves_have_no_cycle_but_for_the_ground() -> None:
    graph = {name: targets - GROUND for name, targets in ALLOWED.items() if name not in GROUND}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("masks") < order.index("networks") < order.index("methods") < order.index("training")
    for name in ("training", "analysis", "deploy"):
        assert not ALLOWED[name] & {"training", "analysis", "deploy", "experiments", "report", "cli"}


def test_there_are_no_rooms_for_everything() -> None:
    names = {part for name in modules(SOURCE) for part in name.split(".")}
    assert not names & {"util", "utils", "misc", "common", "helper", "helpers"}


def test_the_package_imports_nothing_of_itself_at_once() -> None:
    body = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8")).body
    at_once = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in at_once for alias in node.names]
    names += [node.module or "" for node in at_once if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.startswith(PACKAGE)]
    assert not [node for node in at_once if isinstance(node, ast.ImportFrom) and node.level]


FORBIDDEN = {
    "at the top": "from domain_masks.training.run import run\n",
    "whole module": "import domain_masks.training.run\n",
    "inside a function": "def later():\n    from domain_masks.training import run\n",
    "for types alone": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from domain_masks import training\n",
    "relative": "from ..training import run\n",
    "relative to the package": "from .. import training\n",
}


def tiny_package(root: Path, files: dict[str, str]) -> Path:
    for name in ("__init__.py", "masks/__init__.py", "training/__init__.py", "training/run.py"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text("", encoding="utf-8")
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("text", FORBIDDEN.values(), ids=list(FORBIDDEN))
def test_a_forbidden_import_is_caught(tmp_path: Path, text: str) -> None:
    root = tiny_package(tmp_path, {"masks/functional.py": text})
    (line,) = forbidden(root)
    assert line.startswith("masks/functional.py:")
    assert line.endswith("masks imports training")


def test_an_allowed_import_is_not_caught(tmp_path: Path) -> None:
    root = tiny_package(tmp_path, {"training/run.py": "from domain_masks.masks import functional\nimport torch\n"})
    assert forbidden(root) == []
    assert arrows(root) == [("training", "masks", "training/run.py:1")]


def test_the_command_line_is_imported_by_nobody(tmp_path: Path) -> None:
    root = tiny_package(tmp_path, {"training/run.py": "from domain_masks.cli import main\n"})
    assert forbidden(root) == ["training/run.py:1: training imports cli"]


def test_a_cycle_is_caught(tmp_path: Path) -> None:
    files = {
        "masks/functional.py": "def later():\n    import domain_masks.training.run\n",
        "training/run.py": "from domain_masks import masks\n",
    }
    assert set(cycle(tiny_package(tmp_path, files))) == {"masks", "training"}


CYCLES = {
    "inside a function": "def later():\n    from domain_masks.training.fit import fit\n",
    "for types alone": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from domain_masks.training.fit import fit\n",
    "through the package": "from domain_masks.training import fit\n",
    "a whole module": "import domain_masks.training.fit\n",
}


@pytest.mark.parametrize("text", CYCLES.values(), ids=list(CYCLES))
def test_a_cycle_between_two_files_of_a_folder_is_caught(tmp_path: Path, text: str) -> None:
    files = {
        "training/__init__.py": "from domain_masks.training.fit import fit\n",
        "training/fit.py": "from domain_masks.training.run import run\n\ndef fit(): ...\n",
        "training/run.py": text,
    }
    root = tiny_package(tmp_path, files)
    assert cycle(root) == []
    assert set(circle(imports_between_files(root))) == {"domain_masks.training.fit", "domain_masks.training.run"}


def test_names_that_a_package_hands_on_are_no_cycle(tmp_path: Path) -> None:
    files = {
        "training/__init__.py": "from domain_masks.training.fit import fit\nfrom domain_masks.training.run import run\n",
        "training/fit.py": "def fit(): ...\n",
        "training/run.py": "from domain_masks.training import fit\n",
    }
    root = tiny_package(tmp_path, files)
    assert circle(imports_between_files(root)) == []
    assert imports_between_files(root)["domain_masks.training.run"] == {"domain_masks.training.fit"}
