"""Packages whose names are imported when they are first used, so that what needs no torch never waits for it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any


def attach(package: str, names: Mapping[str, Sequence[str]]) -> None:
    """Give a package the names of its modules: each is imported with the first use of one of its names.

    - ``names``: module -> the names that the package has from there

    A function that is called like its module stays the function, as with ordinary imports (``training.run``).
    """
    module_of = {name: module for module, several in names.items() for name in several}

    class Package(ModuleType):
        """A package that looks names up when they are asked for."""

        def __getattr__(self, name: str) -> Any:
            if name not in module_of:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            value = getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
            # Found at once from now on.
            self.__dict__[name] = value
            return value

        def __setattr__(self, name: str, value: Any) -> None:
            # The import of a module binds it in its package, over a name that the package has from there.
            if not (name in module_of and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *module_of})

    sys.modules[package].__class__ = Package
