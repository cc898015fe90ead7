"""The TypedDicts of the calls are those of the settings models.

After a change of a setting, write them again with ``python tests/calls/test_typed_keywords.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, StrictBool
from pydantic.fields import FieldInfo

from domain_masks.calls.described import help_text
from domain_masks.records.config import RunConfig
from domain_masks.records.method_choice import MethodChoice
from domain_masks.records.setting_types import Metavar, as_list, as_names, as_range, as_seconds, three_numbers
from domain_masks.settings.benchmark import BenchmarkOptions, BenchmarkRuns
from domain_masks.settings.export import ExportSettings
from domain_masks.settings.finished_runs import AnalyzeSettings, EvaluateSettings, ReportSettings
from domain_masks.settings.predict import PredictSettings
from domain_masks.settings.push import PushSettings
from domain_masks.settings.train import TrainSettings

FILE = Path(__file__).parents[2] / "src" / "domain_masks" / "calls" / "typed_keywords.py"

HEAD = '''"""The keywords of the calls, for editors and type checkers; written by ``tests/calls/test_typed_keywords.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from torch import nn

Place: TypeAlias = str | PathLike[str]
"""A path, or another name of a dataset, of weights or of a model."""
'''

OF_ONE_RUN = ("target", "seed", "method", "devices", "backbone")
COMMANDS_ALONE = ("print_config", "launcher", "ray_address", "jobs", "shard", "null")

CLASSES: Sequence[tuple[str, str, str, Sequence[type[BaseModel]], Sequence[str]]] = (
    ("SharedKeywords", "", "the settings that all runs of a benchmark share", (RunConfig,), OF_ONE_RUN),
    ("TrainKeywords", "SharedKeywords", "the settings of ``dm.train``", (RunConfig, TrainSettings), ()),
    ("EvaluateKeywords", "", "the settings of ``dm.evaluate``", (EvaluateSettings,), ()),
    ("AnalyzeKeywords", "", "the settings of ``dm.analyze``", (AnalyzeSettings,), ()),
    ("ReportKeywords", "", "the settings of ``dm.report``", (ReportSettings,), ()),
    ("PredictKeywords", "", "the settings of ``dm.predict``", (PredictSettings,), COMMANDS_ALONE),
    ("ExportKeywords", "", "the settings of ``dm.export``", (ExportSettings,), ()),
    ("PushKeywords", "", "the settings of ``dm.push``", (PushSettings,), ()),
    (
        "BenchmarkKeywords",
        "SharedKeywords",
        "the settings of ``dm.benchmark``",
        (RunConfig, BenchmarkRuns, BenchmarkOptions),
        ("target", "seed", "method", "devices"),
    ),
)

UNTYPED = {
    "methods": "Sequence[str | Mapping[str, Any]] | str",
    "targets": "Sequence[str | Sequence[str]] | str",
    "seeds": "Sequence[int] | int",
    "sweep": "Mapping[str, Sequence[Any]] | Sequence[str] | str",
    "variants": "Sequence[Mapping[str, Any] | str] | str",
    "value_range": "str | tuple[float, float]",
}
"""Settings whose model does not say what Python may give."""

CONVERTED = {
    MethodChoice.read: "str | Mapping[str, Any]",
    as_names: "str | Sequence[str]",
    as_list: "str | Sequence[str]",
    three_numbers: "float | Sequence[float]",
    as_range: "str | tuple[float, float]",
    as_seconds: "float | str",
}


def text() -> str:
    """Return the content of the file."""
    return "\n\n".join([HEAD, *("\n".join(lines(*entry)) for entry in CLASSES)]).rstrip() + "\n"


def lines(name: str, base: str, about: str, kinds: Sequence[type[BaseModel]], without: Sequence[str]) -> Iterator[str]:
    inherited = {entry[0]: set(fields_of(entry)) for entry in CLASSES}.get(base, set())
    yield f"class {name}({base or 'TypedDict'}, total=False):"
    yield f'    """Keywords: {about}."""'
    yield ""
    for field, info in fields_of((name, base, about, kinds, without)).items():
        if field not in inherited:
            more = ["nn.Module", "Callable[[int], nn.Module]"] if (name, field) == ("TrainKeywords", "backbone") else []
            yield f"    {field}: {accepted(field, info, more)}"
            yield from documented(help_text(info))
    yield ""


def documented(help_of: str) -> Iterator[str]:
    line = f'    """{help_of}"""'
    if len(line) <= 120:
        yield line
        return
    words, current = help_of.split(" "), '    """'
    for word in words:
        if len(current) + len(word) > 118 and current.strip() != '"""':
            yield current.rstrip()
            current = "    "
        current += f"{word} "
    yield f'{current.rstrip()}"""'


def fields_of(entry: tuple[str, str, str, Sequence[type[BaseModel]], Sequence[str]]) -> dict[str, FieldInfo]:
    _, _, _, kinds, without = entry
    return {
        name: info
        for kind in kinds
        for name, info in kind.model_fields.items()
        if name not in without
        and name != "print_config"
        and not (info.json_schema_extra or {}).get("flag", {}).get("positional")  # type: ignore[union-attr,call-overload]
    }


def accepted(name: str, info: FieldInfo, more: Sequence[str] = ()) -> str:
    named = UNTYPED.get(name)
    parts = [*dict.fromkeys([named] if named else types_of(info.annotation, info.metadata)), *more]
    if info.default is None and "None" not in parts:
        parts.append("None")
    return " | ".join([*(part for part in parts if part != "None"), *(["None"] if "None" in parts else [])])


def types_of(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[str]:
    for item in metadata:
        if isinstance(item, BeforeValidator) and item.func in CONVERTED:
            is_place = item.func is as_list and "Place" in types_of(get_args(annotation)[0])
            yield "Place | Sequence[Place]" if is_place else CONVERTED[item.func]  # type: ignore[index]
            if type(None) in get_args(annotation):
                yield "None"
            return
    origin, parts = get_origin(annotation), get_args(annotation)
    if any(isinstance(item, Metavar) and item.completion for item in metadata):
        yield "Place"
    elif annotation is StrictBool:
        yield "bool"
    elif origin is Annotated:
        yield from types_of(parts[0], parts[1:])
    elif origin in (Union, UnionType):
        for part in parts:
            yield from types_of(part, metadata)
    elif origin is Literal:
        yield f"Literal[{', '.join(map(quoted, parts))}]"
    elif origin in (tuple, list):
        of = " | ".join(types_of(parts[0]))
        yield f"{of} | Sequence[{of}]"
    elif annotation is NoneType:
        yield "None"
    else:
        yield "Place" if annotation is Path else annotation.__name__


def quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def test_the_typed_keywords_are_the_settings() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "write them again: python tests/calls/test_typed_keywords.py"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
