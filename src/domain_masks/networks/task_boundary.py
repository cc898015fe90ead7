"""The tensor at which T begins: the boundary's input, or the input of dropout directly before it.

Dropout directly before the boundary, with or without reshaping in between, acts on the activations that T takes. T begins at
the first of these dropouts, at the same tensor in training and evaluation, although the evaluation graph may not contain them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx, nn

from domain_masks.networks import dropout
from domain_masks.networks.tracing import Traced, trace, training_mode


@dataclass(frozen=True)
class TaskStart:
    """A network's graph in one mode, and the tensor at which T begins in it."""

    traced: Traced
    node: fx.Node


def task_starts(
    network: nn.Module, boundary: str, sites: Sequence[str], inputs: int, watched: bool = False
) -> Iterator[dict[bool, TaskStart]]:
    """Yield the possible starts of T, by training mode, from the latest to the earliest.

    They differ only by reshaping: values such as the batch size may bypass one of them. With ``watched`` the outputs of modules
    that are traced into are marked, see :func:`trace`.

    Raises InputError if the network cannot be traced to boundary and sites.
    """
    with training_mode(network, True):
        traced, opened = _with_dropout_in_sight(network, boundary, sites, inputs, watched)
        steps = _steps_before(traced.boundary, network)
    with training_mode(network, False):
        again = trace(network, boundary, sites, inputs, opened, watched)
        steps_again = _steps_before(again.boundary, network)
    drops = [index for index, step in enumerate(steps) if dropout.drops(step, network)]
    if not drops:
        yield {True: TaskStart(traced, traced.boundary), False: TaskStart(again, again.boundary)}
        return
    # A selection before the first dropout belongs to F, so that features do not contain unused values.
    selections = sum(map(dropout.selects, steps[: drops[-1] + 1]))
    way, way_again = (_up_to(selections, mode_steps) for mode_steps in (steps, steps_again))
    for left in dict.fromkeys((len(way) - drops[-1] - 1, 0)):
        kept, kept_again = way[: len(way) - left], way_again[: len(way_again) - left]
        names, names_again = (
            [dropout.name_of(step) for step in mode_steps[len(mode_steps) - left :]] for mode_steps in (way, way_again)
        )
        if names == names_again:
            yield {
                True: TaskStart(traced, _start(kept, traced.boundary)),
                False: TaskStart(again, _start(kept_again, again.boundary)),
            }


def _with_dropout_in_sight(
    network: nn.Module, boundary: str, sites: Sequence[str], inputs: int, watched: bool
) -> tuple[Traced, set[str]]:
    """Trace in training mode, in which all dropout is in the graph; also returns the traced modules that end in dropout."""
    opened: set[str] = set()
    while True:
        traced = trace(network, boundary, sites, inputs, opened, watched)
        last = _start(_steps_before(traced.boundary, network), traced.boundary)
        name = str(last.target)
        inner = dropout.ends_in_dropout(network.get_submodule(name)) if last.op == "call_module" else set()
        if name in opened or not inner:
            return traced, opened
        opened |= {f"{name}.{module}".rstrip(".") for module in inner}


def _steps_before(end: fx.Node, network: nn.Module) -> list[fx.Node]:
    """Return the steps directly before ``end`` that only apply dropout, reshape or select, from the last to the first."""
    steps = []
    node: fx.Node | None = end
    while node is not None and (dropout.drops(node, network) or dropout.moves(node, network)):
        if dropout.source(node) is not None:
            steps.append(node)
        node = dropout.source(node)
    return steps


def _up_to(selections: int, steps: list[fx.Node]) -> list[fx.Node]:
    """Return ``steps`` up to the one that selects once more than ``selections`` times."""
    selecting = [index for index, step in enumerate(steps) if dropout.selects(step)]
    return steps[: selecting[selections]] if len(selecting) > selections else steps


def _start(steps: list[fx.Node], end: fx.Node) -> fx.Node:
    """Return the input of the first of ``steps``; ``end`` if there are none."""
    return (dropout.source(steps[-1]) if steps else None) or end
