"""User-defined methods outside of this package, imported only where they are named.

Nothing that a model file or a folder of results says makes anything be imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from domain_masks.errors import InputError, nearest
from domain_masks.methods.method_registry import METHODS
from domain_masks.records.file_state import digest_of_file
from domain_masks.records.plugins import is_file, plugin_file

_PREFIX = "domain_masks_plugin_"
"""Before the name of a module that was made of a file."""
_LOADED: dict[str, str] = {}
"""Plugin, a file from the root -> the digest of what was imported."""


def load_plugins(names: Iterable[str]) -> None:
    """Import plugins, each once: files ``...py``, or modules that Python finds, also from the working folder.

    A file that has changed since is imported again. What they add to ``METHODS``, or to ``SAMPLING``, ``SCHEDULES`` and the
    others, is known by its name afterwards.

    Raises InputError where one is not there, cannot be imported (with the line), has a method that it does not register, or
    takes the name of one of this package's.
    """
    for name in names:
        path = plugin_file(name) if is_file(name) else None
        if path is not None and not path.is_file():
            raise InputError(f"plugin {name!r}: no such file. Expected a file of Python, or the name of a module")
        key = name if path is None else str(path.absolute())
        digest = "" if path is None else digest_of_file(path)
        if _LOADED.get(key) == digest:
            continue
        before = dict(METHODS.data)
        try:
            module = _module(name) if path is None else _file(path.absolute())
            _refuse_names_of_this_package(name, before)
            _require_registration(name, module)
        except BaseException:
            METHODS.data = before
            raise
        _LOADED[key] = digest


def _module(name: str) -> ModuleType:
    # As `python -m` finds it; the script `dmg` alone would look beside itself.
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(
                f"plugin {name!r}: no such module here. Expected one that is installed or lies below the working folder, or a "
                "file by its path, which ends with .py"
            ) from error
        raise _broken(name, plugin_file(name), error) from error
    except (Exception, SystemExit) as error:
        raise _broken(name, plugin_file(name), error) from error
    finally:
        sys.path.remove(here)


def _file(path: Path) -> ModuleType:
    name = f"{_PREFIX}{path.stem}_{zlib.crc32(os.fsencode(path)):08x}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise InputError(f"plugin {str(path)!r}: expected a file of Python")
    module = importlib.util.module_from_spec(found)
    before = sys.modules.get(name)
    sys.modules[name] = module
    # What lies beside it can be imported, as by a script.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise _broken(str(path), path, error) from error
    return module


def _broken(name: str, path: Path | None, error: BaseException) -> InputError:
    """Return what is wrong with a plugin and in which of its lines; the deepest one where it calls itself."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _is_same(frame.filename, path)]
    if isinstance(error, SyntaxError) and error.filename is not None and _is_same(error.filename, path):
        lines.append(error.lineno)
    message = error.msg if isinstance(error, SyntaxError) and lines else str(error)
    place = f", line {lines[-1]}" if lines else ""
    said = " ".join(f"{type(error).__name__}: {message}".split())
    return InputError(f"plugin {name!r}{place}: {said}. Nothing of it is used: fix it, or leave it out")


def _is_same(filename: str, path: Path | None) -> bool:
    return path is not None and Path(filename).absolute() == path.absolute()


def _require_registration(name: str, module: ModuleType) -> None:
    """Raise InputError where a plugin has methods and registers none: their names would be unknown."""
    from domain_masks.methods.base import Method  # noqa: PLC0415 - its file has mostly been imported by the plugin

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
            f"plugin {name!r} has a method and does not say under which name: expected a line such as "
            f"`METHODS[{own[0].name!r}] = {own[0].__name__}` at its end"
        )


def _refuse_names_of_this_package(plugin: str, before: Mapping[str, type | str]) -> None:
    for name, was in before.items():
        is_own = was.startswith("domain_masks.") if isinstance(was, str) else source_of(was) is None
        now = METHODS.data.get(name)
        if is_own and isinstance(now, type) and source_of(now) is not None:
            raise InputError(
                f"plugin {plugin!r} puts {now.__name__} under the name {name!r}, which is a method of this package: expected "
                "another name, as results would be taken for those of the other"
            )


def source_of(kind: type) -> str | None:
    """Return where a class of a method's own is defined, as somebody else would have to import it; None for this package's.

    A file is named without its folder, which is nobody's business where a model goes.
    """
    module = kind.__module__
    if module.startswith(_PREFIX):
        return Path(getattr(sys.modules.get(module), "__file__", None) or f"{module}.py").name
    return None if module.partition(".")[0] == "domain_masks" else module


def unfamiliar(name: str, sources: Iterable[str | None]) -> str:
    """Say that a method is not known here, and what has to be imported first: ``sources`` as far as they are known."""
    known = [source for source in sources if source]
    if not known or known == ["__main__"]:
        guess = nearest(name, METHODS)
        return (
            f"method {name!r} is not known here, and is none of this package's: run the code that defines it first, in Python, "
            f"or give its file as --plugin{f'. Did you mean {guess!r}?' if guess else ''}"
        )
    flags = " ".join(f"--plugin {source}" for source in known)
    return (
        f"method {name!r} of {', '.join(known)} is not known here: import that first, in Python, or add {flags} (by its path, "
        "where it is a file)"
    )
