"""Plugins of a run: files or modules with a user's own code."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from domain_masks.records.file_state import digest_of_file


def is_file(plugin: str) -> bool:
    """Whether a plugin is a file ``...py`` and not a module."""
    return plugin.endswith(".py")


def plugin_file(plugin: str) -> Path | None:
    """Return the file of a plugin; None for a module that does not exist or has no file.

    The parent packages of a module are imported, as with any import of it.
    """
    if is_file(plugin):
        return Path(plugin)
    try:
        spec = importlib.util.find_spec(plugin)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.has_location else None


def plugin_files(plugin: str) -> list[Path]:
    """Return the Python files with the code of a plugin, its own first; empty for a module that has no file.

    - of a module of a package: all files of the package
    - of any other: it and what it imports from its own folder, directly or through other files there

    Installed packages that it imports are not among them.
    """
    path = plugin_file(plugin)
    if path is None:
        return []
    if not is_file(plugin) and (path.name == "__init__.py" or "." in plugin):
        path = path.absolute()
        package = path.parents[plugin.count(".") - (path.name != "__init__.py")]
        return [path, *(other for other in _all_in(package) if other != path)]
    return [path, *_imported_from(path.parent, path)]


def plugin_digest(plugin: str) -> str | None:
    """Return a digest of a plugin's code, see :func:`plugin_files`; None for a module without a file.

    Raises OSError where a file cannot be read.
    """
    files = plugin_files(plugin)
    if not files:
        return None
    digests = [digest_of_file(path) for path in files]
    if len(files) == 1:
        return digests[0]
    names = sorted(zip([path.name for path in files], digests, strict=True))
    return hashlib.blake2b(repr(names).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _all_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if path.is_file())


def _imported_from(folder: Path, first: Path) -> list[Path]:
    """Return what ``first`` imports from ``folder``, also through other files; nothing where packages are installed there."""
    if folder.resolve() in {Path(place).resolve() for place in sysconfig.get_paths().values()}:
        return []
    found: list[Path] = []
    pending = [first]
    while pending:
        # A copy of this package beside a plugin is not the plugin's.
        for name in set(_imports(pending.pop())) - {"domain_masks"}:
            module, package = folder / f"{name}.py", folder / name
            new = [module] if module.is_file() else _all_in(package) if package.is_dir() else []
            new = [path for path in new if path != first and path not in found]
            found += new
            pending += new
    return sorted(found)


def _imports(path: Path) -> Iterator[str]:
    """Yield the top-level names that a file imports; nothing where it is not valid Python."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
