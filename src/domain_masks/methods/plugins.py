"""User-defined methods outside this package, imported only if the user names them.

The contents of a model file or a results folder never cause an import.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from domain_masks.errors import InputError, nearest
from domain_masks.methods.method_registry import METHODS
from domain_masks.records.plugins import is_file, plugin_digest, plugin_file, plugin_files

_PREFIX = "domain_masks_plugin_"
"""Prefix of the names of modules that are imported from a file."""
_LOADED: dict[str, str] = {}
"""Module name or absolute path of a plugin -> digest of its code as it was imported."""


def load_plugins(names: Iterable[str]) -> None:
    """Import plugins, each once: files ``*.py``, or modules on Python's path or in the working folder.

    One whose code has changed is imported again, with what it imports from its own folder or package. Plugins register their
    methods in ``METHODS``, and other parts in ``SAMPLING``, ``SCHEDULES`` and the other registries.

    Raises InputError if a plugin does not exist, cannot be imported (with the line), defines a method without registering it,
    or registers one under the name of a method of this package.
    """
    for name in names:
        path = plugin_file(name) if is_file(name) else None
        if path is not None and not path.is_file():
            raise InputError(f"plugin {name!r}: no such file. Expected a Python file or the name of a module")
        key = name if path is None else str(path.absolute())
        digest = _digest(name)
        if _LOADED.get(key) == digest:
            continue
        if key in _LOADED:
            _forget(plugin_files(name))
        before = dict(METHODS.data)
        try:
            module = _module(name) if path is None else _file(path.absolute())
            _refuse_names_of_this_package(name, before)
            _require_registration(name, module)
        except BaseException:
            METHODS.data = before
            raise
        _LOADED[key] = digest


@contextmanager
def _working_folder_on_path() -> Iterator[None]:
    # As with `python -m`; the script `dmg` has only its own folder on the path.
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        importlib.invalidate_caches()
        yield
    finally:
        sys.path.remove(here)


def _digest(plugin: str) -> str:
    with _working_folder_on_path():
        try:
            return plugin_digest(plugin) or ""
        except Exception:
            return ""


def _forget(files: Iterable[Path]) -> None:
    """Remove the modules of these files, so that they are imported again: their code has changed."""
    places = {str(path.absolute()) for path in files}
    for name, module in list(sys.modules.items()):
        if name != "__main__" and getattr(module, "__file__", None) in places:
            del sys.modules[name]


def _module(name: str) -> ModuleType:
    with _working_folder_on_path():
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                raise InputError(
                    f"plugin {name!r}: no such module here. Expected one that is installed or lies below the working folder, "
                    "or a file by its path, which ends with .py"
                ) from error
            raise _broken(name, plugin_file(name), error) from error
        except (Exception, SystemExit) as error:
            raise _broken(name, plugin_file(name), error) from error


def _file(path: Path) -> ModuleType:
    name = f"{_PREFIX}{path.stem}_{zlib.crc32(os.fsencode(path)):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"plugin {str(path)!r}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    # Modules in the same folder can be imported, as by a script.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise _broken(str(path), path, error) from error
    return module


def _broken(name: str, path: Path | None, error: BaseException) -> InputError:
    """Return the error of a plugin with its line, the innermost one of the traceback that is in the plugin."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _is_same(frame.filename, path)]
    if isinstance(error, SyntaxError) and error.filename is not None and _is_same(error.filename, path):
        lines.append(error.lineno)
    message = error.msg if isinstance(error, SyntaxError) and lines else str(error)
    place = f", line {lines[-1]}" if lines else ""
    description = " ".join(f"{type(error).__name__}: {message}".split())
    return InputError(f"plugin {name!r}{place}: {description}. The plugin was not loaded: fix it, or leave it out")


def _is_same(filename: str, path: Path | None) -> bool:
    return path is not None and Path(filename).absolute() == path.absolute()


def _require_registration(name: str, module: ModuleType) -> None:
    """Raise InputError if a plugin defines methods and registers none, so that their names would be unknown."""
    from domain_masks.methods.base import Method  # noqa: PLC0415 - imports torch, which the plugin has mostly imported

    own = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Method)
        and kind.__module__ == module.__name__
        and "name" in vars(kind)
    ]
    if own and not any(kind.name in METHODS for kind in own):
        raise InputError(
            f"plugin {name!r} defines a method without registering it: expected a line such as "
            f"`METHODS[{own[0].name!r}] = {own[0].__name__}` at its end"
        )


def _refuse_names_of_this_package(plugin: str, before: Mapping[str, type | str]) -> None:
    for name, was in before.items():
        now = METHODS.data.get(name)
        if _is_of_this_package(was) and isinstance(now, type) and source_of(now) is not None:
            raise InputError(
                f"plugin {plugin!r} registers {now.__name__} as {name!r}, the name of a method of this package: expected "
                "another name, so that their results are not confused"
            )


def is_from_outside(method: str) -> bool:
    """Whether a registered method is not one of this package."""
    registered = METHODS.data.get(method)
    return registered is not None and not _is_of_this_package(registered)


def _is_of_this_package(registered: type | str) -> bool:
    return registered.startswith("domain_masks.") if isinstance(registered, str) else source_of(registered) is None


def source_of(kind: type) -> str | None:
    """Return the module or file that defines a method's class, as a plugin to load; None for methods of this package.

    A file is named without its folder, because model cards are shared.
    """
    module = kind.__module__
    if module.startswith(_PREFIX):
        return Path(getattr(sys.modules.get(module), "__file__", None) or f"{module}.py").name
    return None if module.partition(".")[0] == "domain_masks" else module


def unknown_method(name: str, sources: Iterable[str | None]) -> str:
    """Return the message for an unknown method; ``sources`` are the plugins that may define it, as far as known."""
    known = [source for source in sources if source]
    if not known or known == ["__main__"]:
        guess = nearest(name, METHODS)
        return (
            f"unknown method {name!r}, which is not part of this package: run the code that defines it first, in Python, "
            f"or give its file as --plugin{f'. Did you mean {guess!r}?' if guess else ''}"
        )
    flags = " ".join(f"--plugin {source}" for source in known)
    return (
        f"unknown method {name!r} of {', '.join(known)}: import that first, in Python, or add {flags} (with its path, "
        "if it is a file)"
    )
