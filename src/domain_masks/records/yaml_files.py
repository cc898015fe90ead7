"""YAML for settings: plain values as in version 1.2, no repeated keys, and errors with their line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from domain_masks.errors import InputError

MOST_VALUES = 10_000
"""Far more than any settings have; aliases of aliases (a "billion laughs" attack) exceed it immediately."""

_PLAIN = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    "float": (
        r"[-+]?((\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN",
        "-+0123456789.",
    ),
    "merge": (r"<<", "<"),
}
_BREAKS = "\r\x85\u2028\u2029"
_FIRST_TO_FIT = ("null", "bool", "int", "float", "merge")


class _Loader(yaml.SafeLoader):
    """Reads ``1e-4`` as a number, and ``no`` and ``on`` as text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node; PyYAML lets exceptions of its conversions escape, such as for ``!!bool foo``."""
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            problem = f"{node.value!r:.80} cannot be read as {tag}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


class _Dumper(yaml.SafeDumper):
    """Writes values such that :class:`_Loader` reads the same ones."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values in full instead of aliases."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Write text with unusual line breaks in double quotes, the only style that preserves them."""
        style = '"' if any(letter in data for letter in _BREAKS) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


for _kind in _FIRST_TO_FIT:
    _pattern, _first = _PLAIN[_kind]
    _letters = [letter if letter != "\0" else "" for letter in _first]
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), _letters)


def to_yaml(values: dict[str, Any]) -> str:
    """Return plain values as YAML, keys in their order, so that :func:`parse_yaml` gives the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def parse_yaml(text: str, source: str) -> Any:
    """Return the content of a YAML text.

    Raises InputError that names ``source`` and the line for invalid YAML, for a repeated key, for several documents, and for
    a text that expands to very many values.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_repeated_names(node, source)
        if _size(node, {}) > MOST_VALUES:
            raise InputError(
                f"configuration {source!r} expands to more than {MOST_VALUES} values: expected settings, without aliases "
                "of aliases"
            )
        return loader.construct_document(node)
    except RecursionError as error:
        raise InputError(
            f"configuration {source!r} is nested too deeply: expected settings as `name: value`"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"configuration {source!r} is no YAML that can be used: {_reason(error)}") from error
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; raises InputError where it cannot be read, and as :func:`parse_yaml` does."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"configuration {str(path)!r} is no text in UTF-8 (byte {error.start + 1}): save it in that encoding"
        ) from error
    except OSError as error:
        hint = "; expected a file, as in --config settings.yaml"
        raise InputError(f"configuration {str(path)!r} cannot be read: {error.strerror or error}{hint}") from error
    return parse_yaml(text, str(path))


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refuse_repeated_names(root: yaml.Node, source: str) -> None:
    """Raise InputError for a name that a mapping has twice; YAML readers silently take the last one."""
    waiting, known = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        lines: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise InputError(
                        f"configuration {source!r} gives {key.value!r} twice, in lines {lines[key.value]} and {line}: "
                        "expected every name once"
                    )
                lines[key.value] = line
        fresh = [child for child in _children(node) if id(child) not in known]
        known.update(map(id, fresh))
        waiting += fresh


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of values that a node expands to, aliases written out; stops counting above the limit."""
    if id(node) not in known:
        # An alias of a node that contains it expands without end.
        known[id(node)] = MOST_VALUES + 1
        total = 1
        for child in _children(node):
            total += _size(child, known)
            if total > MOST_VALUES:
                break
        known[id(node)] = total
    return known[id(node)]


def _reason(error: Exception) -> str:
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error).replace("\n", " ")
    problem = (error.problem or "it is malformed").replace("found character '\\t'", "found a tab (indent with spaces)")
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark is not None else problem
