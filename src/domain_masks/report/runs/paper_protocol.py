"""Whether a run is comparable with the paper's number: everything in which its protocol is another one."""

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
    """A setting that is another one in the paper; both sides as text."""

    setting: str
    paper: str
    here: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.here} (paper: {self.paper})"


def protocol_match(config: Mapping[str, Any]) -> list[Difference]:
    """Return every setting of a run, as in ``config.yaml``, in which the paper's protocol (Sections 4 and 7.5) is another one.

    Nothing differs where the run is comparable with the paper's number; what each setting must be stands in
    :mod:`.paper_settings`. One that is missing there or in ``config`` is a difference. For methods that the paper quotes
    (:data:`.paper_settings.QUOTED`) data, backbone, weights and selection are looked at, not how they are trained.
    """
    dataset = config.get("dataset")
    method = config.get("method")
    method = {"name": method} if isinstance(method, str) else method if isinstance(method, Mapping) else {}
    name, backbone, optimizer = method.get("name"), config.get("backbone"), config.get("optimizer", _NOT_RECORDED)
    found = []
    if not (isinstance(dataset, str) and dataset in DOMAINS):
        found.append(Difference("dataset", "PACS or DomainNet", _text("dataset", dataset)))
    if backbone not in BACKBONES:
        found.append(Difference("backbone", "AlexNet, ResNet-18 or ResNet-50", _text("backbone", backbone)))
    is_quoted = isinstance(name, str) and name in QUOTED
    if not (is_quoted or (isinstance(name, str) and name in METHOD_SETTINGS)):
        found.append(Difference("method", "one of its tables' methods", _text("method", name)))
    found += _held_out(config.get("target"))
    found += [
        one for one in _differing(SETTINGS, config, str(dataset)) if not (is_quoted and one.setting in OF_TRAINING)
    ]
    if is_quoted:
        return found
    if name == "aggregate" and optimizer == "sgd":
        found += _difference("momentum", MOMENTUM, config.get("momentum", _NOT_RECORDED))
    else:
        found += _difference("optimizer", Fixed("adam"), optimizer)
    if name == "dmg" and not _are_the_papers(config.get("sites"), backbone):
        found.append(Difference("sites", _text("sites", "paper"), _text("sites", config.get("sites"))))
    own = {key: value for key, value in method.items() if key != "name"}
    known = METHOD_SETTINGS.get(str(name))
    return found if known is None else [*found, *_differing(known, own, str(dataset))]


def run_differences(results: Results) -> list[Difference]:
    """Return in what a finished run itself departs from the paper's protocol, whatever its settings say."""
    found = [*_held_out(results.targets)]
    if not found and (domains := DOMAINS.get(results.dataset)) is not None:
        others = [domain for domain in domains if domain not in results.targets]
        if set(results.sources) != set(others) or len(others) == len(domains):
            found.append(Difference("source domains", ", ".join(others), ", ".join(results.sources)))
    if results.protocol.target_labels_used:
        found.append(Difference("labels of the held-out domain", "not used", "used for training or selection (oracle)"))
    return found


def differences(records: Sequence[RunRecord]) -> list[Difference]:
    """Return in what any of these runs departs from the paper's protocol, each once."""
    found = [one for record in records for one in (*protocol_match(record.config), *run_differences(record.results))]
    return list(dict.fromkeys(found))


def missing_domains(dataset: str, targets: Sequence[str]) -> list[str]:
    """Return the domains that the paper's "Overall" is a mean over and ``targets``, each held out by itself, are not."""
    return [domain for domain in DOMAINS.get(dataset, ()) if domain not in targets]


def _held_out(targets: Any) -> Iterator[Difference]:
    """Yield a difference where several domains are held out together, or none; None is the dataset's usual one."""
    count = targets.count(",") + 1 if isinstance(targets, str) else None if targets is None else len(targets)
    if count not in (None, 1):
        yield Difference("held-out domains", "one", str(count))


def _differing(table: Mapping[str, Classified], given: Mapping[str, Any], dataset: str) -> Iterator[Difference]:
    for name, rule in table.items():
        wanted = rule.values.get(dataset) if isinstance(rule, ByDataset) else rule
        if isinstance(wanted, Fixed):
            absent = wanted.values[0] if isinstance(wanted, Later) else _NOT_RECORDED
            yield from _difference(name, wanted, given.get(name, absent))
    for name, value in given.items():
        if name not in table and value is not None:
            yield Difference(name, "not known", _text(name, value))


def _difference(name: str, wanted: Fixed, given: Any) -> Iterator[Difference]:
    if not any(_same(value, given) for value in wanted.values):
        yield Difference(name, _text(name, wanted.values[0]), _text(name, given))


def _same(wanted: Any, given: Any) -> bool:
    if _is_number(wanted) and _is_number(given):
        return float(wanted) == float(given)
    return type(wanted) is type(given) and bool(wanted == given)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_the_papers(sites: Any, backbone: Any) -> bool:
    """Whether these are the masked inputs of Section 4.1; of the three backbones they are the default, too."""
    named = [sites] if isinstance(sites, str) else list(sites) if isinstance(sites, list | tuple) else []
    return sites is None or named in ([], ["paper"], list(PAPER_SITES.get(str(backbone), ())))


def _text(name: str, value: Any) -> str:
    words = IN_WORDS.get(name, {})
    if isinstance(value, bool | str | None) and value in words:
        return words[value]
    if name in ("weights", "dataset", "init_from") and isinstance(value, str):
        return f"file {PurePath(value).name}" if "/" in value or "\\" in value else value
    return "by default" if name == "sites" and not value else value_text(value)
