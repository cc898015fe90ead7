"""Select the reported settings of a method by rules over run records; each result names its rule.

The rules are those of Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization" (ICLR 2021, Section 3). Each
run selects its epoch itself, always on its sources' validation images; these rules choose between runs with different
settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from domain_masks.errors import InputError, RunFolderError, unknown
from domain_masks.evaluation.accuracy import mean_over_domains, per_domain_accuracy
from domain_masks.evaluation.selection_rules import LEAVE_ONE_DOMAIN_OUT, ORACLE, SELECTION_RULES, SOURCE_VALIDATION
from domain_masks.evaluation.variants import Variant, variants
from domain_masks.records.collection import RunRecord

_SOURCES_OF_A_RUN = 2


@dataclass(frozen=True, eq=False)
class VariantChoice:
    """The variant of a method that a rule chose for one held-out domain, or for several held out together.

    - ``target_labels_used``: whether the choice looked at labels of the held-out domain
    - ``scores``: label of each candidate variant -> the accuracy that the rule compared, in [0, 1]; empty where the
      method has one variant, so that nothing was compared
    """

    variant: Variant
    rule: str
    target_labels_used: bool
    scores: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class SelectedResult:
    """The reported runs of one method and target: those of the chosen variant, one per seed, and its selection."""

    method: str
    targets: tuple[str, ...]
    choice: VariantChoice
    records: tuple[RunRecord, ...]

    @property
    def target(self) -> str:
        """The held-out domains, joined by commas; empty where none was held out."""
        return ",".join(self.targets)

    @property
    def variant(self) -> Variant:
        """The chosen variant."""
        return self.choice.variant

    @property
    def rule(self) -> str:
        """The rule by which it was chosen."""
        return self.choice.rule

    @property
    def target_labels_used(self) -> bool:
        """Whether labels of the held-out domain took part in the choice, or in a chosen run itself."""
        own = any(record.results.protocol.target_labels_used for record in self.records)
        return self.choice.target_labels_used or own


def choose(
    records: Sequence[RunRecord], rule: str, target: str | Sequence[str], method: str | None = None
) -> VariantChoice:
    """Choose one variant of ``method`` for ``target`` by ``rule``.

    - ``records``: runs of one dataset; all their different settings are candidates
    - ``target``: the held-out domain, several joined by commas or as a list, or nothing for runs that hold out none
    - ``method``: may be left out where there is one

    The choice is made once per target, by the mean over the seeds that all its variants share (over each variant's own
    seeds where they share none), so all seeds are reported with the same settings. Of equal scores the first in the order
    of the settings wins. Only ``oracle`` uses numbers computed from labels of the target.

    Raises InputError for an unknown rule, method or target, and for runs that the rule needs but are missing; each is named.
    """
    if rule not in SELECTION_RULES:
        raise unknown("selection rule", rule, SELECTION_RULES)
    everything = variants(records)
    methods = list(dict.fromkeys(variant.method for variant in everything))
    if method is None and len(methods) == 1:
        method = methods[0]
    if method not in methods:
        raise unknown("method", str(method), methods)
    targets = _targets(target)
    candidates = [variant for variant in everything if variant.method == method and variant.holding_out(targets)]
    if not candidates:
        held_out = {",".join(record.results.targets) or "none" for record in records}
        raise unknown(f"held-out domain of method {method!r}", ",".join(targets) or "none", sorted(held_out))
    labels_used = rule == ORACLE
    if len(candidates) == 1:
        return VariantChoice(candidates[0], rule, labels_used, {})
    scores = _scores(rule, candidates, targets)
    # max() takes the first of equal scores, and the variants are in the order of their settings.
    best = max(candidates, key=lambda variant: scores[variant.label])
    return VariantChoice(best, rule, labels_used, scores)


def selected(
    records: Sequence[RunRecord],
    rule: str = SOURCE_VALIDATION,
    targets: Iterable[str | Sequence[str]] | None = None,
) -> list[SelectedResult]:
    """Choose for every method and target of ``records``, method by method, target by target, in their order.

    ``targets`` are the targets to report; by default all that a method holds out. Under ``leave-one-domain-out`` runs that
    hold out one more domain than others of their method are the inner runs of that rule, and are not reported themselves.
    Methods without a run for a target are skipped. See :func:`choose` for errors.
    """
    wanted = None if targets is None else [frozenset(_targets(target)) for target in targets]
    rows = []
    for method in dict.fromkeys(record.results.method for record in records):
        mine = [record for record in records if record.results.method == method]
        groups = {frozenset(record.results.targets): tuple(record.results.targets) for record in mine}
        inner = _inner(groups) if wanted is None and rule == LEAVE_ONE_DOMAIN_OUT else set()
        for group, names in groups.items():
            if group in inner or (wanted is not None and group not in wanted):
                continue
            choice = choose(mine, rule, names, method)
            rows.append(SelectedResult(method, names, choice, choice.variant.holding_out(names)))
    return rows


def _targets(target: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(target, str):
        return tuple(name.strip() for name in target.split(",") if name.strip())
    return tuple(target)


def _inner(groups: Iterable[frozenset[str]]) -> set[frozenset[str]]:
    """Return the groups of targets that extend another group by one domain."""
    known = list(groups)
    return {
        group for group in known if any(other and other < group and len(group) == len(other) + 1 for other in known)
    }


def source_validation_accuracy(record: RunRecord) -> float:
    """Return the accuracy of a run's prediction ensemble on its sources' validation images, their unweighted mean.

    From ``predictions.npz``; where that cannot be read, from ``results.json``, if its in-domain accuracy is one of validation.
    Raises InputError that names the run where neither file has it.
    """
    try:
        predictions = record.predictions()
        sources = [predictions.domain_names.index(name) for name in predictions.sources]
        validation = predictions.rows(np.isin(predictions.domains, sources) & (predictions.splits == "validation"))
        if len(validation):
            return mean_over_domains(per_domain_accuracy(validation))
        problem = f"{record.folder.predictions} holds no validation images"
    except RunFolderError as error:
        problem = str(error)
    inside = record.results.in_domain
    if inside is not None and inside.split == "validation":
        return inside.accuracy
    raise InputError(
        f"no validation accuracy of the run in {record.folder.path}, by which its settings would be chosen: {problem}. Write "
        "it again with `dmg evaluate RUN`"
    )


def _by_source_validation(variant: Variant, targets: Sequence[str]) -> dict[int, float]:
    return {record.results.seed: source_validation_accuracy(record) for record in variant.holding_out(targets)}


def _by_leaving_out(variant: Variant, targets: Sequence[str]) -> dict[int, float]:
    inner = _inner_accuracies(variant, targets)
    seeds = set.intersection(*(set(by_seed) for by_seed in inner.values()))
    return {seed: fmean(by_seed[seed] for by_seed in inner.values()) for seed in sorted(seeds)}


def _by_oracle(variant: Variant, targets: Sequence[str]) -> dict[int, float]:
    measured = {record.results.seed: record.results.out_of_domain for record in variant.holding_out(targets)}
    return {seed: accuracies.accuracy for seed, accuracies in measured.items() if accuracies is not None}


def _inner_accuracies(variant: Variant, targets: Sequence[str]) -> dict[str, dict[int, float]]:
    """Return source -> seed -> its accuracy in the run that held it out together with the targets."""
    return {
        source: {
            record.results.seed: outside.per_domain[source]
            for record in variant.holding_out((*targets, source))
            if (outside := record.results.out_of_domain) is not None and source in outside.per_domain
        }
        for source in variant.holding_out(targets)[0].results.sources
    }


_SCORES: Mapping[str, Callable[[Variant, Sequence[str]], dict[int, float]]] = {
    SOURCE_VALIDATION: _by_source_validation,
    LEAVE_ONE_DOMAIN_OUT: _by_leaving_out,
    ORACLE: _by_oracle,
}


def _scores(rule: str, candidates: Sequence[Variant], targets: Sequence[str]) -> dict[str, float]:
    """Return label -> mean over the seeds that all candidates share; where they share none, over each one's own seeds."""
    by_seed = {variant.label: _SCORES[rule](variant, targets) for variant in candidates}
    if empty := [variant for variant in candidates if not by_seed[variant.label]]:
        raise _nothing_to_compare(rule, empty, targets)
    shared = set.intersection(*(set(values) for values in by_seed.values()))
    return {
        label: fmean(value for seed, value in values.items() if seed in shared or not shared)
        for label, values in by_seed.items()
    }


def _nothing_to_compare(rule: str, variants_without: Sequence[Variant], targets: Sequence[str]) -> InputError:
    """Return the error that lists the runs that a rule lacks."""
    held_out = ",".join(targets) or "none"
    if rule != LEAVE_ONE_DOMAIN_OUT:
        labels = "; ".join(variant.label for variant in variants_without)
        return InputError(
            f"selection rule {rule!r}: expected an out-of-domain accuracy on {held_out}, got none of {labels}"
        )
    sources = variants_without[0].holding_out(targets)[0].results.sources
    if len(sources) <= _SOURCES_OF_A_RUN:
        return InputError(
            f"selection rule {rule!r} for held-out domain {held_out}: got the sources {', '.join(sources)}, and expected more "
            f"than {_SOURCES_OF_A_RUN}, as a run that holds out one of them needs {_SOURCES_OF_A_RUN} others. Use another rule"
        )
    missing = []
    for variant in variants_without:
        seed = variant.holding_out(targets)[0].results.seed
        for source, by_seed in _inner_accuracies(variant, targets).items():
            if seed not in by_seed:
                missing.append(f"  {variant.label}: target {','.join((*targets, source))}, seed {seed}\n")
    return InputError(
        f"selection rule {rule!r} for held-out domain {held_out}: expected runs that hold out each source as well, got none "
        f"of these {len(missing)}:\n{''.join(missing)}Train them, such as with `dmg benchmark --targets "
        f"{','.join((*targets, 'SOURCE'))}`, or choose by another rule"
    )
