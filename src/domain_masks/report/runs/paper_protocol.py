"""Whether a run is comparable with the paper's numbers: the differences of its protocol from the paper's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from domain_masks.records.collection import RunRecord
from domain_masks.records.results import Results
from domain_masks.report.runs.naming import value_text
from domain_masks.report.runs.paper_settings import (
    BACKBONES,
    DOMAINS,
    IN_WORDS,
    METHOD_SETTINGS,
    MOMENTUM,
    OF_TRAINING,
    PAPER_SITES,
    QUOTED,
    SETTINGS,
    ByDataset,
    Classified,
    Fixed,
    Later,
)

_NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Difference:
    """A setting that differs from the paper's; both values as text."""

    setting: str
    paper: str
    here: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.here} (paper: {self.paper})"


def protocol_match(config: Mapping[str, Any]) -> list[Difference]:
    """Return the settings of a run, as in ``config.yaml``, that differ from the paper's protocol (Sections 4 and 7.5).

    The list is empty if the run is comparable with the paper's numbers; :mod:`.paper_settings` has the required values. A
    setting that is missing there or in ``config`` counts as a difference. For methods that the paper quotes
    (:data:`.paper_settings.QUOTED`) only data, backbone, weights and selection are compared, not the training.
    """
    dataset = config.get("dataset")
    method = config.get("method")
    method = {"name": method} if isinstance(method, str) else method if isinstance(method, Mapping) else {}
    name, backbone, optimizer = method.get("name"), config.get("backbone"), config.get("optimizer", _NOT_RECORDED)
    result = []
    if not (isinstance(dataset, str) and dataset in DOMAINS):
        result.append(Difference("dataset", "PACS or DomainNet", _text("dataset", dataset)))
    if backbone not in BACKBONES:
        result.append(Difference("backbone", "AlexNet, ResNet-18 or ResNet-50", _text("backbone", backbone)))
    is_quoted = isinstance(name, str) and name in QUOTED
    if not (is_quoted or (isinstance(name, str) and name in METHOD_SETTINGS)):
        result.append(Difference("method", "one of its tables' methods", _text("method", name)))
    result += _held_out(config.get("target"))
    result += [
        difference
        for difference in _differing(SETTINGS, config, str(dataset))
        if not (is_quoted and difference.setting in OF_TRAINING)
    ]
    if is_quoted:
        return result
    if name == "aggregate" and optimizer == "sgd":
        result += _difference("momentum", MOMENTUM, config.get("momentum", _NOT_RECORDED))
    else:
        result += _difference("optimizer", Fixed("adam"), optimizer)
    if name == "dmg" and not _are_the_papers(config.get("sites"), backbone):
        result.append(Difference("sites", _text("sites", "paper"), _text("sites", config.get("sites"))))
    own = {key: value for key, value in method.items() if key != "name"}
    known = METHOD_SETTINGS.get(str(name))
    return result if known is None else [*result, *_differing(known, own, str(dataset))]


def run_differences(results: Results) -> list[Difference]:
    """Return the differences of a finished run from the paper's protocol that its results show."""
    result = [*_held_out(results.targets)]
    if not result and (domains := DOMAINS.get(results.dataset)) is not None:
        others = [domain for domain in domains if domain not in results.targets]
        if set(results.sources) != set(others) or len(others) == len(domains):
            result.append(Difference("source domains", ", ".join(others), ", ".join(results.sources)))
    if results.protocol.test_time is not None:
        result.append(Difference("test time", "one pass over each image", results.protocol.test_time))
    if results.protocol.target_labels_used:
        result.append(
            Difference("labels of the held-out domain", "not used", "used for training or selection (oracle)")
        )
    return result


def differences(records: Sequence[RunRecord]) -> list[Difference]:
    """Return the differences of any of these runs from the paper's protocol, without duplicates."""
    return list(
        dict.fromkeys(
            difference
            for record in records
            for difference in (*protocol_match(record.config), *run_differences(record.results))
        )
    )


def missing_domains(dataset: str, targets: Sequence[str]) -> list[str]:
    """Return the domains in the paper's "Overall" that are not in ``targets``, each held out alone."""
    return [domain for domain in DOMAINS.get(dataset, ()) if domain not in targets]


def _held_out(targets: Any) -> Iterator[Difference]:
    """Yield a difference unless exactly one domain is held out; None is the dataset's default."""
    count = targets.count(",") + 1 if isinstance(targets, str) else None if targets is None else len(targets)
    if count not in (None, 1):
        yield Difference("held-out domains", "one", str(count))


def _differing(table: Mapping[str, Classified], settings: Mapping[str, Any], dataset: str) -> Iterator[Difference]:
    for name, rule in table.items():
        wanted = rule.values.get(dataset) if isinstance(rule, ByDataset) else rule
        if isinstance(wanted, Fixed):
            absent = wanted.values[0] if isinstance(wanted, Later) else _NOT_RECORDED
            yield from _difference(name, wanted, settings.get(name, absent))
    for name, value in settings.items():
        if name not in table and value is not None:
            yield Difference(name, "not known", _text(name, value))


def _difference(name: str, wanted: Fixed, actual: Any) -> Iterator[Difference]:
    if not any(_same(value, actual) for value in wanted.values):
        yield Difference(name, _text(name, wanted.values[0]), _text(name, actual))


def _same(wanted: Any, actual: Any) -> bool:
    if _is_number(wanted) and _is_number(actual):
        return float(wanted) == float(actual)
    return type(wanted) is type(actual) and bool(wanted == actual)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_the_papers(sites: Any, backbone: Any) -> bool:
    """Whether these are the mask sites of Section 4.1, which are the default of the three backbones."""
    named = [sites] if isinstance(sites, str) else list(sites) if isinstance(sites, list | tuple) else []
    return sites is None or named in ([], ["paper"], list(PAPER_SITES.get(str(backbone), ())))


def _text(name: str, value: Any) -> str:
    words = IN_WORDS.get(name, {})
    if isinstance(value, bool | str | None) and value in words:
        return words[value]
    if name in ("weights", "dataset", "init_from") and isinstance(value, str):
        return f"file {PurePath(value).name}" if "/" in value or "\\" in value else value
    return "by default" if name == "sites" and not value else value_text(value)
