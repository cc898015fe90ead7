"""Groups of comparable runs, with one dataset, backbone and protocol, and the settings chosen among them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain_masks.evaluation.selection_rules import SOURCE_VALIDATION
from domain_masks.evaluation.variants import Variant, variants
from domain_masks.records import Analysis
from domain_masks.records.collection import RunRecord
from domain_masks.records.results import OFFICIAL
from domain_masks.report.runs.analyses import StoredAnalysis, stored_analysis
from domain_masks.report.runs.correctness import RunCorrectness, correctness_of
from domain_masks.report.runs.held_out import main_targets_of, target_of, targets_in_order
from domain_masks.report.runs.lines import Line, lines_of, published_lines
from domain_masks.report.runs.naming import differing_settings, file_name, title_of

PROTOCOL = (
    "weights",
    "freeze_features",
    "size",
    "epochs",
    "augmentation",
    "square",
    "crop",
    "mean",
    "std",
    "interpolation",
    "value_range",
    "resizing",
    "split_seed",
    "in_domain_test",
    "skip_bad",
    "fast",
    "views",
    "head_initialisation",
)
"""Settings that define the protocol rather than a variant; with frozen features the boundary is another one."""


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one dataset, backbone and protocol.

    - ``name``, ``title``: for anchors and files, and for display
    - ``records``: the runs, one per variant, held-out domain and seed
    - ``targets``: held-out domains, each entry joined by commas, in the order of the dataset's domains if known
    - ``lines``: a row per method and optimiser, with settings chosen by ``rule``
    - ``published``: a row with the paper's protocol and setting for each method whose line has another setting; nothing was
      chosen there, so it is comparable with the paper's number
    - ``problems``: why the rule could not choose, and unreadable predictions
    """

    name: str
    title: str
    records: tuple[RunRecord, ...]
    targets: tuple[str, ...]
    variants: tuple[Variant, ...]
    lines: tuple[Line, ...]
    published: tuple[Line, ...]
    rule: str
    problems: tuple[str, ...]
    correctness: Mapping[int, RunCorrectness]
    analyses: Mapping[int, StoredAnalysis]

    def of(self, record: RunRecord) -> RunCorrectness:
        """Return which images one of the group's runs classifies correctly."""
        return self.correctness[id(record)]

    def analysis(self, record: RunRecord) -> Analysis | None:
        """Return the analysis of one of the group's runs; None if it was not analyzed."""
        return self.analyses[id(record)].analysis

    @property
    def decided(self) -> tuple[Line, ...]:
        """The lines that can be compared: those for which the rule could choose, one per method and optimiser."""
        return tuple(line for line in self.lines if not line.undecided)

    def line(self, method: str, optimizer: str | None = None) -> Line | None:
        """Return the line of a method, with this optimiser if it has several; None if the rule could not choose."""
        mine = [line for line in self.lines if line.method == method]
        same = [line for line in mine if line.optimizer == optimizer] or mine
        return same[0] if same and not same[0].undecided else None

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.records[0].results.dataset

    @property
    def backbone(self) -> str:
        """The backbone's name."""
        return self.records[0].results.backbone

    @property
    def main_targets(self) -> tuple[str, ...]:
        """The held-out domains shown in tables, without larger combinations; see :func:`.results.main_targets`."""
        return main_targets_of(self.records)

    @property
    def not_shown(self) -> tuple[RunRecord, ...]:
        """The runs that hold out more domains together than those of the tables, such as for a selection rule."""
        shown = set(self.main_targets)
        return tuple(record for record in self.records if target_of(record) not in shown)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds, in order."""
        return tuple(sorted({record.results.seed for record in self.records}))

    @property
    def is_swept(self) -> bool:
        """Whether some method was run with several settings."""
        return len(self.variants) > len({variant.method for variant in self.variants})


def groups_of(records: Sequence[RunRecord], rule: str = SOURCE_VALIDATION) -> list[Group]:
    """Divide runs into groups, and choose settings in each by ``rule``; failures are noted.

    Runs that hold out nothing are groups of their own. Groups of ordinary predictions come first, then those with held-out
    domains, the largest before others.
    """
    parts: dict[str, list[RunRecord]] = {}
    for record in records:
        shared = {
            name: value for name, value in protocol_of(record).items() if name not in ("images", "weights_content")
        }
        parts.setdefault(json.dumps(shared, sort_keys=True, default=str), []).append(record)
    divided = [
        same
        for part in parts.values()
        for of_images in _by_content(part, lambda record: record.content)
        for same in _by_content(of_images, lambda record: record.weights_content)
    ]
    ordered = sorted(
        divided,
        key=lambda part: (
            is_of_test_time(part[0]),
            not part[0].results.targets,
            -len(part),
            bool(part[0].revisions_missing),
        ),
    )
    protocols = [
        protocol_of(max(part, key=lambda record: (record.content is not None, record.weights_content is not None)))
        for part in ordered
    ]
    differing = differing_settings(protocols)
    names: list[str] = []
    groups = []
    for part, protocol in zip(ordered, protocols, strict=True):
        name = file_name(f"{part[0].results.dataset}-{part[0].results.backbone}")
        names.append(name)
        unique = name if names.count(name) == 1 else f"{name}-{names.count(name)}"
        groups.append(_group(unique, title_of(protocol, differing), part, rule))
    return groups


def is_of_test_time(record: RunRecord) -> bool:
    """Whether the numbers of a run are of an option of test time, such as an adaptation to the images that are measured."""
    return record.results.protocol.test_time is not None


def _by_content(records: Sequence[RunRecord], content_of: Callable[[RunRecord], str | None]) -> list[list[RunRecord]]:
    """Divide runs by the content of a file or dataset; runs that did not record it join the others if these agree."""
    parts: dict[str | None, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: content_of(record) is None):
        known = content_of(record)
        parts.setdefault(next(iter(parts)) if known is None and len(parts) == 1 else known, []).append(record)
    order = {id(record): place for place, record in enumerate(records)}
    return [sorted(part, key=lambda record: order[id(record)]) for part in parts.values()]


def protocol_of(record: RunRecord) -> dict[str, Any]:
    """Return the protocol of a run: dataset, backbone and the settings in :data:`PROTOCOL`.

    Also ``held_out``, "nothing" for a run on all domains; ``test_time``, an option of predicting; ``images`` and
    ``weights_content``, the start of the digests of the dataset and of the file of weights; and ``before``, later changes of
    the computation that it lacks.
    """
    config = record.config
    protocol: dict[str, Any] = {"dataset": record.results.dataset, "backbone": record.results.backbone}
    protocol |= {name: config.get(name) for name in PROTOCOL}
    protocol["boundary"] = config.get("boundary") if config.get("freeze_features") else None
    if not config.get("freeze_features"):
        protocol["views"] = None
    if protocol["in_domain_test"] == OFFICIAL:
        # As of runs of versions that had no other.
        protocol["in_domain_test"] = None
    protocol["images"] = None if record.content is None else record.content[:8]
    protocol["weights_content"] = None if record.weights_content is None else record.weights_content[:8]
    protocol["held_out"] = None if record.results.targets else "nothing"
    protocol["test_time"] = record.results.protocol.test_time
    protocol["before"] = ", ".join(record.revisions_missing) or None
    return protocol


def _group(name: str, title: str, records: Sequence[RunRecord], rule: str) -> Group:
    every = variants(records)
    kept = {id(record) for variant in every for record in variant.records}
    once = tuple(record for record in records if id(record) in kept)
    correctness = {id(record): correctness_of(record) for record in once}
    problems = [f"{record.folder.path}: {text}" for record in once if (text := correctness[id(record)].problem)]
    if superseded := [record for variant in every for record in variant.superseded]:
        subject, verb = ("1 run has", "is") if len(superseded) == 1 else (f"{len(superseded)} runs have", "are")
        problems.append(
            f"{subject} other contents of the plugins, or of the run in init_from, than the newest run of these settings, or "
            f"none recorded, and {verb} left out: {', '.join(str(record.folder.path) for record in superseded[:3])}"
            f"{'' if len(superseded) <= 3 else ', ...'}"
        )
    repeated = len(records) - len(once) - len(superseded)
    if repeated:
        subject, verb = ("1 run repeats", "is") if repeated == 1 else (f"{repeated} runs repeat", "are")
        problems.append(f"{subject} the settings, held-out domain and seed of another, and {verb} left out")
    unknown = sum(record.content is None for record in records)
    if 0 < unknown < len(records):
        problems.append(
            f"{unknown} of {len(records)} runs were made by a version that did not record a fingerprint of the images: whether "
            "they used the same images as the others is unknown"
        )
    main = main_targets_of(once)
    lines, unchosen = lines_of(once, rule, main)
    published = published_lines(every, lines, main)
    targets = targets_in_order(once)
    noted = tuple(dict.fromkeys([*unchosen, *problems]))
    analyses = {id(record): stored_analysis(record) for record in once}
    return Group(name, title, once, targets, every, tuple(lines), tuple(published), rule, noted, correctness, analyses)
