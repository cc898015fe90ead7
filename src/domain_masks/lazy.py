"""Lazy imports: the names of a package are imported when they are first used, so that code without torch starts quickly."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


def attach(package: str, called: str = "") -> None:
    """Give a package the names that it imports under ``if TYPE_CHECKING``: each module is imported with the first use of one.

    A function with the name of its module is returned as the function, as with ordinary imports (``training.run``).

    - ``called``: ``MODULE:FUNCTION`` for a package that can be called, as ``dm.report`` is both a package and a command
    """

    class Package(ModuleType):
        """A package that imports its names on first access."""

        def __getattr__(self, name: str) -> Any:
            module = modules_of(package).get(name)
            if module is None:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            value = getattr(importlib.import_module(module), name)
            # Without another lookup from now on.
            self.__dict__[name] = value
            return value

        def __setattr__(self, name: str, value: Any) -> None:
            # Importing a module binds it in its package, and would replace a function of the same name.
            if not (isinstance(value, ModuleType) and name in modules_of(package)):
                super().__setattr__(name, value)

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *modules_of(package)})

    class CallablePackage(Package):
        """A package that is also the function ``called``."""

        def __call__(self, *arguments: Any, **keywords: Any) -> Any:
            return self._function()(*arguments, **keywords)

        @property
        def __signature__(self) -> inspect.Signature:
            return inspect.signature(self._function())

        def _function(self) -> Any:
            module, _, name = called.partition(":")
            return getattr(importlib.import_module(module), name)

    sys.modules[package].__class__ = CallablePackage if called else Package


@cache
def modules_of(package: str) -> dict[str, str]:
    """Return name -> its module, parsed from the package's imports for the type checker."""
    tree = ast.parse(Path(str(sys.modules[package].__file__)).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}
