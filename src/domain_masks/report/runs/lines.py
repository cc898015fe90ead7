"""Rows of a group's tables: the runs of a method with the settings that a rule chose, per held-out domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from domain_masks.errors import InputError
from domain_masks.evaluation.selection import SelectedResult, selected
from domain_masks.evaluation.selection_rules import ORACLE
from domain_masks.evaluation.variants import Variant, variants
from domain_masks.records.collection import RunRecord
from domain_masks.records.results import held_out_name
from domain_masks.report.runs.held_out import target_of
from domain_masks.report.runs.paper_protocol import protocol_match


@dataclass(frozen=True, eq=False)
class Line:
    """One row of a table: the runs of a method with the settings that a rule chose for each held-out domain.

    - ``by_target``: held-out domains joined by commas -> the runs, one per seed
    - ``main_targets``: the group's held-out domains that tables show; see :attr:`Group.main_targets`
    - ``rule``: how the settings were chosen; empty if there was only one setting, and for a row of one variant
    - ``oracle``: whether labels of the held-out domain were used for the choice or in a run
    - ``chosen``: held-out domain -> the label of the setting
    - ``undecided``: whether this is one of several settings between which the rule could not choose
    """

    method: str
    label: str
    by_target: Mapping[str, tuple[RunRecord, ...]]
    main_targets: tuple[str, ...]
    rule: str = ""
    oracle: bool = False
    chosen: Mapping[str, str] = field(default_factory=dict)
    undecided: bool = False

    @property
    def title(self) -> str:
        """The label, marked as an oracle in plain text."""
        return f"{self.label} (oracle)" if self.oracle else self.label

    @property
    def by_oracle(self) -> bool:
        """Whether the settings themselves were chosen on the held-out domain."""
        return self.oracle and bool(self.rule)

    @property
    def optimizer(self) -> str:
        """The optimiser of its runs; a different one is a different baseline (Aggregate-SGD)."""
        return str(self.first.config.get("optimizer"))

    @property
    def setting(self) -> str:
        """The chosen setting if it is the same for every held-out domain, or the label of a row of one variant."""
        settings = dict.fromkeys(self.chosen.values())
        if len(settings) > 1:
            return "settings by held-out domain"
        return next(iter(settings), self.label).removeprefix(f"{self.method}, ")

    @property
    def first(self) -> RunRecord:
        """One of its runs, for what all of them share: dataset, backbone, method and optimiser."""
        return next(iter(self.by_target.values()))[0]

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """The runs that tables and figures show, ordered by held-out domain: those of the group's main held-out domains."""
        return tuple(record for target in self.main_targets for record in self.by_target.get(target, ()))


def lines_of(records: Sequence[RunRecord], rule: str, main: tuple[str, ...]) -> tuple[list[Line], list[str]]:
    """Return a row per method and optimiser, or a row per variant if the rule cannot choose, and the reasons."""
    lines: list[Line] = []
    problems: list[str] = []
    for method in dict.fromkeys(record.results.method for record in records):
        optimizers: dict[str, list[RunRecord]] = {}
        for record in records:
            if record.results.method == method:
                optimizers.setdefault(str(record.config.get("optimizer")), []).append(record)
        for optimizer, mine in optimizers.items():
            label = method if len(optimizers) == 1 else f"{method}, {optimizer}"
            try:
                chosen = selected(mine, rule)
            except InputError as error:
                problems.append(f"{label}: the settings could not be chosen by {rule}: {_beginning(str(error))}")
                lines += [line_of(variant, main, undecided=True) for variant in variants(mine)]
            else:
                lines.append(_line(label, chosen, len(variants(mine)) > 1, main))
    return lines, problems


def _beginning(message: str, most: int = 4) -> str:
    """Return the first lines of a message, and how many follow."""
    lines = message.splitlines()
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return " ".join([*lines[:most], *more])


def published_lines(every: Sequence[Variant], lines: Sequence[Line], main: tuple[str, ...]) -> Iterator[Line]:
    """Yield lines of the variants with the paper's protocol, for methods whose own line includes other variants."""
    for variant in every:
        # The paper holds out one domain; runs that hold out two serve a selection rule.
        singles = [record for record in variant.records if len(record.results.targets) == 1]
        if not singles or any(protocol_match(record.config) for record in singles):
            continue
        mine = {id(record) for record in singles}
        shown = [line for line in lines if line.method == variant.method]
        if not any(mine <= {id(record) for record in line.records} and not line.by_oracle for line in shown):
            line = line_of(variant, main)
            yield replace(line, label=f"{variant.method}, the paper's setting")


def _line(label: str, chosen: Sequence[SelectedResult], was_swept: bool, main: tuple[str, ...]) -> Line:
    # How the shown runs were chosen; of a method without any, how all were.
    shown = [result for result in chosen if held_out_name(result.targets) in main] or chosen
    compared = any(result.choice.scores for result in shown)
    oracle = any(
        (result.rule == ORACLE and bool(result.choice.scores)) or _used_labels(result.records) for result in shown
    )
    return Line(
        chosen[0].method,
        label,
        {held_out_name(result.targets): result.records for result in chosen},
        main,
        chosen[0].rule if compared else "",
        oracle,
        {held_out_name(result.targets): result.variant.label for result in shown} if was_swept else {},
    )


def line_of(variant: Variant, main: tuple[str, ...], undecided: bool = False) -> Line:
    """Return the row of one variant, without a choice, in a group with these main held-out domains."""
    by_target: dict[str, tuple[RunRecord, ...]] = {}
    for record in variant.records:
        target = target_of(record)
        by_target[target] = (*by_target.get(target, ()), record)
    line = Line(variant.method, variant.label, by_target, main, undecided=undecided)
    return replace(line, oracle=_used_labels(line.records))


def _used_labels(records: Sequence[RunRecord]) -> bool:
    return any(record.results.protocol.target_labels_used for record in records)
