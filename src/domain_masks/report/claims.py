"""The paper's findings, looked for in one's own runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from domain_masks.evaluation.variants import METHOD
from domain_masks.records.collection import RunRecord
from domain_masks.records.predictions import KNOWN_DOMAIN, PREDICTION_ENSEMBLE
from domain_masks.report.accuracies import accuracy_of, overall
from domain_masks.report.answers import IN_DOMAIN, KNOWN, OUT_OF_DOMAIN, interval
from domain_masks.report.cells import Column, Table, is_missing, rows_of, signed, text_cell, typed
from domain_masks.report.groups import Group, Line, target_of
from domain_masks.report.paper import OVERALL, accuracy_numbers
from domain_masks.report.sweeps import IOU

CLAIMS = {
    "group": "str",
    "finding": "str",
    "paper": "str",
    "here": "str",
    "value": "Float64",
    "result": "str",
}
"""Columns of :func:`claims`; ``value`` is the number behind "here" (accuracies as fractions)."""


SEEN, UNCLEAR, IN_PART, NOT_SEEN = "seen", "not clear", "in part", "not seen"


@dataclass(frozen=True)
class Gap:
    """The difference of two mean accuracies, in [-1, 1], and on how many held-out domains the first is higher.

    - ``deviation``: over seeds, None for one
    - ``bounds``: 95 % interval over test pictures, None where predictions are missing
    """

    difference: float
    higher: int
    domains: int
    deviation: float | None
    bounds: tuple[float, float] | None

    @property
    def result(self) -> str:
        """Whether the first is higher: not clear where the interval holds 0, in part where most domains do not follow."""
        if self.bounds is not None and self.bounds[0] <= 0 <= self.bounds[1]:
            return UNCLEAR
        if self.difference <= 0:
            return NOT_SEEN
        # A mean that one domain lifts while most do not follow is no finding.
        return SEEN if 2 * self.higher > self.domains else IN_PART


def claims(group: Group, frame: pd.DataFrame, sweeps: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per finding of the paper that these runs can speak to.

    - ``frame``: of :func:`.accuracies.summary`
    - ``sweeps``: setting -> frame of :func:`.sweeps.sweep_frame`
    """
    rows = [{"group": group.name, **row} for row in _findings(group, frame, sweeps)]
    return typed(rows, CLAIMS)


def claims_table(group: Group, frame: pd.DataFrame) -> Table | None:
    """Return :func:`claims` as a table; None where the runs speak to no finding."""
    if frame.empty:
        return None
    rows = [
        [
            text_cell(row["finding"]),
            text_cell(row["paper"], mark="paper"),
            text_cell(row["here"]),
            text_cell(row["result"], mark="best" if row["result"] == SEEN else ""),
        ]
        for row in rows_of(frame)
    ]
    columns = [Column(title, is_number=False) for title in ("finding", "paper", "here", "result")]
    note = (
        "In brackets: 95 % interval over test pictures, each drawn with both answers. Not clear: it holds 0. In part: not "
        "with most held-out domains, or not in all cases. The paper's "
        "numbers are of other networks and protocols, unless the tables set them beside these."
    )
    return Table(f"{group.name}-findings", "The paper's findings, looked for here", columns, rows, frame, [note])


def gap(group: Group, first: Line, second: Line, measures: tuple[str, str]) -> Gap | None:
    """Return the mean of one line minus that of another over the seeds that both have; None unless they have every domain."""
    targets = group.main_targets
    pairs: list[tuple[RunRecord, RunRecord]] = []
    by_seed: dict[int, list[float]] = {}
    by_target: dict[str, list[float]] = {}
    for target in targets:
        others = {record.results.seed: record for record in second.by_target.get(target, ())}
        for record in first.by_target.get(target, ()):
            other = others.get(record.results.seed)
            one = accuracy_of(record, measures[0])
            two = None if other is None else accuracy_of(other, measures[1])
            if other is not None and one is not None and two is not None:
                pairs.append((record, other))
                by_seed.setdefault(record.results.seed, []).append(one - two)
                by_target.setdefault(target, []).append(one - two)
    if len(by_target) < len(targets):
        return None
    means = [sum(values) / len(values) for values in by_target.values()]
    seeds = [sum(values) / len(values) for values in by_seed.values() if len(values) == len(targets)]
    deviation = float(pd.Series(seeds).std()) if len(seeds) > 1 else None
    bounds = _bounds(group, pairs, measures, by_target)
    return Gap(sum(means) / len(means), sum(mean > 0 for mean in means), len(means), deviation, bounds)


def _bounds(
    group: Group,
    pairs: Sequence[tuple[RunRecord, RunRecord]],
    measures: tuple[str, str],
    by_target: Mapping[str, Sequence[float]],
) -> tuple[float, float] | None:
    """Return the interval of the difference, every picture drawn with the answers of both lines."""
    answers, weights = [], []
    for pair in pairs:
        share = 1 / (len(by_target) * len(by_target[target_of(pair[0])]))
        for record, measure, sign in zip(pair, measures, (1, -1), strict=True):
            found = group.of(record).by_measure.get(measure)
            if found is None:
                return None
            answers.append(found)
            weights.append(sign * share)
    found_interval = interval(answers, PREDICTION_ENSEMBLE, weights)
    return None if found_interval is None else (found_interval.low, found_interval.high)


def _findings(group: Group, frame: pd.DataFrame, sweeps: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    lines = {line.method: line for line in group.lines}
    dmg = lines.get("dmg")
    if dmg is None:
        return
    if "aggregate" in lines:
        yield from _gap_row(
            "Out of domain, DMG is better than Aggregate",
            gap(group, dmg, lines["aggregate"], (OUT_OF_DOMAIN, OUT_OF_DOMAIN)),
            _paper_gaps(group.dataset, ("dmg", OUT_OF_DOMAIN), ("aggregate", OUT_OF_DOMAIN)),
        )
    yield from _gap_row(
        "In domain, the known domain's own mask is better than the ensemble",
        gap(group, dmg, dmg, (KNOWN, IN_DOMAIN)),
        _paper_gaps("domainnet", ("dmg", KNOWN), ("dmg", IN_DOMAIN)),
    )
    yield from _own_mask(group, dmg)
    yield from _sweep_rows(sweeps)


def _gap_row(finding: str, found: Gap | None, paper: str) -> Iterator[dict[str, Any]]:
    if found is None:
        return
    here = f"{signed(100 * found.difference)} points{_range(found)}"
    if found.deviation is not None:
        here += f" (± {100 * found.deviation:.2f} over seeds)"
    here += f"; higher with {found.higher} of {found.domains} held-out domains"
    yield {"finding": finding, "paper": paper, "here": here, "value": found.difference, "result": found.result}


def _range(found: Gap) -> str:
    return "" if found.bounds is None else f" [{signed(100 * found.bounds[0], 1)}, {signed(100 * found.bounds[1], 1)}]"


def _paper_gaps(dataset: str, first: tuple[str, str], second: tuple[str, str]) -> str:
    """Return the paper's overall differences on a dataset, as text."""
    titles = {"alexnet": "AlexNet", "resnet18": "ResNet-18", "resnet50": "ResNet-50"}
    source = dataset if any(number.dataset == dataset for number in accuracy_numbers()) else "domainnet"
    parts = []
    for backbone, title in titles.items():
        values: dict[tuple[str | None, str], float] = {}
        for number in accuracy_numbers():
            key = (number.method, number.measure)
            fits = number.dataset == source and number.backbone == backbone and number.target == OVERALL
            if fits and number.optimizer == "adam" and key in (first, second) and number.ensemble == "predictions":
                values.setdefault(key, number.accuracy)
        if len(values) == 2:
            parts.append(f"{signed(100 * (values[first] - values[second]))} ({title})")
    return f"{', '.join(parts)}, on {'PACS' if source == 'pacs' else 'DomainNet'}"


def _own_mask(group: Group, line: Line) -> Iterator[dict[str, Any]]:
    """Compare, on every source domain of every run, its own mask with those of the other sources (Table 4)."""
    best = total = 0
    for record in line.records:
        answers = group.of(record).by_measure.get(IN_DOMAIN)
        if answers is None:
            continue
        for domain in answers.ids:
            scores = {source: answers.accuracy(KNOWN_DOMAIN + source, domain) for source in record.results.sources}
            known = {source: value for source, value in scores.items() if value is not None}
            if domain in known and len(known) > 1:
                total += 1
                others = [value for source, value in known.items() if source != domain]
                best += known[domain] >= max(others)
    if total:
        yield {
            "finding": "Each mask is the best, or as good as the best, on its own domain",
            "paper": "on all 10 source domains of Table 4 (AlexNet, DomainNet)",
            "here": f"in {best} of {total} cases (runs × source domains)",
            "value": best / total,
            "result": SEEN if best == total else IN_PART if best > total / 2 else NOT_SEEN,
        }


def _sweep_rows(sweeps: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    spans = {}
    for setting, frame in sweeps.items():
        outside = frame[(frame["measure"] == OUT_OF_DOMAIN) & (frame["held_out"] == OVERALL) & frame["mean"].notna()]
        if len(outside) > 1:
            spans[setting.removeprefix(METHOD)] = float(outside["mean"].max() - outside["mean"].min()), len(outside)
    names = {"overlap_weight": "λ_O", "sparsity_weight": "λ_S"}
    if set(names) <= set(spans):
        overlap, sparsity = spans["overlap_weight"], spans["sparsity_weight"]
        yield {
            "finding": "Out of domain, λ_O matters little and λ_S much",
            "paper": "Figures 3 and 6",
            "here": f"range over {overlap[1]} values of λ_O: {100 * overlap[0]:.2f} points; over {sparsity[1]} of λ_S: "
            f"{100 * sparsity[0]:.2f} points",
            "value": sparsity[0] - overlap[0],
            "result": SEEN if sparsity[0] > overlap[0] else NOT_SEEN,
        }
    for setting, frame in sweeps.items():
        if setting.removeprefix(METHOD) != "overlap_weight":
            continue
        chosen = (frame["measure"] == IOU) & (frame["site"] == "mean") & (frame["held_out"] == OVERALL)
        rows = frame[chosen & frame["mean"].notna()].sort_values("value")
        if len(rows) > 1:
            low, high = rows.iloc[0], rows.iloc[-1]
            yield {
                "finding": "The masks overlap less with a larger λ_O",
                "paper": "Figures 3 and 5",
                "here": f"IoU {low['mean']:.3f} at λ_O = {low['value']:g}, {high['mean']:.3f} at {high['value']:g}",
                "value": float(high["mean"] - low["mean"]),
                "result": SEEN if high["mean"] < low["mean"] else NOT_SEEN,
            }


def headline(group: Group, frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return up to three (number, what, how sure) for the top of the page."""
    found = []
    rows = overall(frame)
    fair = rows[~rows["target_labels_used"]]
    if not fair.empty:
        best = max(rows_of(fair), key=lambda row: float(row["accuracy"]))
        rank = f": the highest of {len(fair)}" if len(fair) > 1 else ""
        sure = "" if is_missing(best["low"]) else f"95 % interval {100 * best['low']:.1f} to {100 * best['high']:.1f}"
        found.append((f"{100 * best['accuracy']:.2f} %", f"{best['line']}, out of domain{rank}", sure))
    lines = {line.method: line for line in group.lines}
    if "dmg" in lines and "aggregate" in lines:
        difference = gap(group, lines["dmg"], lines["aggregate"], (OUT_OF_DOMAIN, OUT_OF_DOMAIN))
        if difference is not None:
            sure = f"95 % interval{_range(difference)}; higher with {difference.higher} of {difference.domains} domains"
            sure = sure if difference.bounds is not None else sure.partition("; ")[2]
            found.append((signed(100 * difference.difference), "points, DMG − Aggregate out of domain", sure))
    if "dmg" in lines:
        known = gap(group, lines["dmg"], lines["dmg"], (KNOWN, IN_DOMAIN))
        if known is not None:
            found.append(
                (
                    signed(100 * known.difference),
                    "points, known domain − ensemble in domain (DMG)",
                    f"95 % interval{_range(known)}" if known.bounds else "",
                )
            )
    return found
