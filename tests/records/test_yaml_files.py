"""YAML of settings: version 1.2's plain values, and a message for everything that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records.config import read_config
from domain_masks.records.yaml_files import parse_yaml, to_yaml

PLAIN = {
    "1e-4": 1e-4,
    "1E5": 1e5,
    ".5": 0.5,
    "-3": -3,
    "no": "no",
    "on": "on",
    "off": "off",
    "yes": "yes",
    "true": True,
    "007": "007",
    "1:30": "1:30",
    "2024-01-01": "2024-01-01",
    "~": None,
    "": None,
    "0x10": "0x10",
    "1_000": "1_000",
}


@pytest.mark.parametrize(("text", "value"), PLAIN.items())
def test_plain_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_yaml(f"name: {text}\n", "f")["name"]
    assert found == value
    assert type(found) is type(value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.text(), values | st.sampled_from([*PLAIN, "<<", "=", "null", "1.", "- a", "a: b"]), max_size=5)
)
def test_what_is_written_is_read_as_it_was(content: dict[str, object]) -> None:
    assert parse_yaml(to_yaml(content), "f") == content


def bomb() -> str:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for name, before in zip("bcdefghij", "abcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    return "\n".join(lines)


REFUSED = {
    "a name twice": ("lr: 1\nepochs: 2\nlr: 3\n", ["'lr' twice", "lines 1 and 3"]),
    "a name twice, further in": ("method:\n  name: dmg\n  name: aggregate\n", ["'name' twice", "lines 2 and 3"]),
    "a tab": ("method:\n\tname: dmg\n", ["line 2", "found a tab", "spaces"]),
    "bad indentation": ("lr: 1\n  epochs: 2\n", ["line 2"]),
    "an open bracket": ("sites: [a, b\n", ["line 2"]),
    "a list": ("- lr\n", ["a list", "name: value"]),
    "a text": ("hello\n", ["a str", "name: value"]),
    "a number as name": ("1: 2\n", ["the name 1"]),
    "several documents": ("a: 1\n---\nb: 2\n", ["another document"]),
    "a bomb": (bomb(), ["more than 10000 values"]),
    "an alias of itself": ("a: &a [*a]\n", ["aliases"]),
    "very deep": ("a: " + "[" * 5000, ["nested too deeply"]),
    "code": ("a: !!python/object/apply:os.system [ls]\n", ["line 1", "tag"]),
    "a control character": ("a: \0\n", ["special characters"]),
    "no truth value": ("lr: !!bool foo\n", ["line 1", "'foo'", "!!bool"]),
    "no number": ("a: 1\nlr: !!int ''\n", ["line 2", "''", "!!int"]),
    "no number either": ("lr: !!float ''\n", ["line 1", "!!float"]),
    "no time": ("lr: !!timestamp foo\n", ["line 1", "'foo'", "!!timestamp"]),
    "no day": ("lr: !!timestamp 2024-99-99\n", ["line 1", "!!timestamp"]),
    "no number within a list": ("a: {b: [1, !!int x]}\n", ["line 1", "'x'", "!!int"]),
    "a tag of a name": ("!!bool foo: 1\n", ["line 1", "'foo'", "!!bool"]),
    "no text": (b"lr: \xff\xfe", ["UTF-8", "byte 5"]),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_no_yaml_of_settings_gets_one_message(content: str | bytes, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_config(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.yaml"):
        with pytest.raises(InputError, match="cannot be read"):
            read_config(path)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    for text in ("", "# nothing\n", "\ufeff"):
        path.write_text(text, encoding="utf-8")
        assert read_config(path) == {}


def test_anchors_and_merges_can_be_used() -> None:
    content = parse_yaml("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: *x\n", "f")
    assert content == {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}, "z": {"a": 1, "b": 2}}


@pytest.mark.parametrize("schema", ["2", "x", "true", "1.5", "-1", "[1]"])
def test_a_schema_that_is_not_known_is_refused(schema: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"schema: {schema}\n")
    with pytest.raises(RunFolderError, match="expected schema 1 or older, got"):
        read_config(path)
