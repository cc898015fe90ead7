"""Split a network into F and T at a named module, with an opening for a mask at the input of every site.

The network's forward is traced with torch.fx, but only through the modules that contain the boundary or a site: all
others stay leaf modules with arbitrary code. The results are plain functions that take the user's module as their first
argument, so the module itself is neither copied nor changed, and its parameters keep their names.

Dropout directly before the boundary belongs to T: see :mod:`domain_masks.networks.task_boundary`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from domain_masks.errors import InputError
from domain_masks.networks import dropout
from domain_masks.networks.outputs import Changes
from domain_masks.networks.site import Site, apply_mask
from domain_masks.networks.task_boundary import TaskStart, task_starts
from domain_masks.networks.tracing import module_output


@dataclass(frozen=True)
class Segments:
    """The parts of a split network, each a function whose first argument is the user's module.

    - ``features(network, *inputs)`` -> the tensor at which T begins
    - ``entering(network, features)`` -> the boundary's input, without the dropout directly before it
    - ``shared(network, features)`` -> the last tensor that does not depend on the domain, computed once for all domains
    - ``masked(network, shared, *masks)`` -> logits (N, C); one mask (N, K) or None per site, in the sites' order
    - ``task_names``, ``feature_names``: the modules and parameters that T and F use
    - ``opened``: the modules that are traced into and not called -> whether each returns a single tensor
    """

    features: Callable[..., Tensor]
    entering: Callable[..., Tensor]
    shared: Callable[..., Tensor]
    masked: Callable[..., Tensor]
    task_names: tuple[str, ...]
    feature_names: tuple[str, ...]
    opened: Mapping[str, bool]

    def in_task(self, name: str) -> bool:
        """Return whether the module or parameter ``name`` belongs to T."""
        return _within(name, self.task_names)

    def in_features(self, name: str) -> bool:
        """Return whether F uses the module or parameter ``name``; T may use it too."""
        return _within(name, self.feature_names)


def split_network(
    network: nn.Module,
    boundary: str,
    sites: Sequence[Site],
    inputs: int = 1,
    silent: bool = False,
    changes: Changes | None = None,
) -> dict[bool, Segments]:
    """Split ``network`` at ``boundary`` and open it at ``sites``, in training mode (True) and in evaluation mode (False).

    - ``inputs``: number of the network's arguments
    - ``silent``: remove functional dropout from T; modules of dropout must be set to evaluation mode
    - ``changes``: changes of the outputs of modules that are traced into

    Raises InputError if a name is not a module of the network or is not called exactly once, if values bypass the boundary
    on the way from the inputs to the logits, or if a site is before the boundary.
    """
    candidates = task_starts(network, boundary, [site.name for site in sites], inputs, changes is not None)
    possible = [parts for parts in candidates if all(_divides(part) for part in parts.values())]
    if not possible:
        raise InputError(_passed_by(boundary))
    for part in possible[0].values():
        _let_change(part.traced.graph, changes)
    return {mode: _segments(network, boundary, sites, part, silent) for mode, part in possible[0].items()}


def _let_change(graph: fx.Graph, changes: Changes | None) -> None:
    """Replace every mark of a module's output by the function that changes it."""
    for node in graph.nodes:
        if changes is not None and node.op == "call_function" and node.target is module_output:
            output, name = node.args
            node.target, node.args = changes.at(str(name)), (output,)


def _divides(part: TaskStart) -> bool:
    """Return whether all paths from the inputs to the logits go through the tensor at which T would begin."""
    return _separates(part.node, _logits(part.traced.graph), part.traced.inputs)


def _logits(graph: fx.Graph) -> fx.Node:
    logits = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(logits, fx.Node):
        raise InputError(
            f"expected a network that returns one tensor of logits, got {type(logits).__name__}: "
            "switch its auxiliary outputs off or wrap it"
        )
    return logits


def _segments(network: nn.Module, boundary: str, sites: Sequence[Site], part: TaskStart, silent: bool) -> Segments:
    traced, start = part.traced, part.node
    graph, marks, logits = traced.graph, traced.marks, _logits(traced.graph)
    for site, node in marks.items():
        if node not in _needed(logits, {start}):
            raise InputError(
                f"site {site!r} is before the boundary {boundary!r} or does not reach the logits: "
                "expected every site in the task network; choose an earlier boundary"
            )
    parting = _parting(graph, start, logits, list(marks.values()), traced.inputs)
    task, features = _needed(logits, {start}) - {start}, _needed(start, set())
    task_names, feature_names = _used(graph, task), _used(graph, features)
    off = {node for node in task if silent and _can_be_switched_off(node, network, feature_names)}
    before = {node for node in _needed(traced.boundary, {start}) if dropout.drops(node, network)} - {start}
    return Segments(
        features=_function(graph, traced.inputs, start, "images"),
        entering=_function(graph, [start], traced.boundary, "features", left_out=before),
        shared=_function(graph, [start], parting, "features", left_out=off),
        masked=_function(graph, [parting], logits, "shared", {marks[site.name]: site for site in sites}, off),
        task_names=task_names,
        feature_names=feature_names,
        opened=traced.opened,
    )


def _passed_by(boundary: str) -> str:
    return (
        f"boundary {boundary!r} cannot split the network: other values computed from the images bypass it. "
        "Expected a module whose input is the only path from the images to the logits, such as a stage or a block. Dropout "
        "directly before it belongs to the task network; if the batch size bypasses it, as in "
        "x.view(images.size(0), -1), take it from the tensor itself, as in x.flatten(1)"
    )


def _can_be_switched_off(node: fx.Node, network: nn.Module, feature_names: tuple[str, ...]) -> bool:
    """Return whether a node is dropout, but not a module of T alone: those are set to evaluation mode, which is visible."""
    if node.op == "call_module":
        return dropout.drops(node, network) and _within(str(node.target), feature_names)
    return dropout.drops(node, network) or dropout.attends_with_dropout(node)


def _within(name: str, names: Collection[str]) -> bool:
    return any(name == used or name.startswith(used + ".") for used in names)


def _used(graph: fx.Graph, nodes: set[fx.Node]) -> tuple[str, ...]:
    return tuple(str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr") and node in nodes)


def _needed(target: fx.Node, stop: set[fx.Node]) -> set[fx.Node]:
    """Return the nodes from which ``target`` is computed, up to and including those in ``stop``."""
    needed: set[fx.Node] = set()
    open_nodes = [target]
    while open_nodes:
        node = open_nodes.pop()
        if node in needed:
            continue
        needed.add(node)
        if node not in stop:
            open_nodes.extend(node.all_input_nodes)
    return needed


def _separates(cut: fx.Node, target: fx.Node, inputs: list[fx.Node]) -> bool:
    """Return whether every path from the inputs to ``target`` goes through ``cut``."""
    return not (_needed(target, {cut}) - {cut}).intersection(inputs)


def _parting(graph: fx.Graph, start: fx.Node, logits: fx.Node, marks: list[fx.Node], inputs: list[fx.Node]) -> fx.Node:
    """Return the last single tensor before the first site, up to which nothing depends on the domain."""
    before_marks = True
    best = start
    reachable = _needed(logits, {start})
    for node in graph.nodes:
        if node in marks:
            before_marks = False
        if before_marks and marks and node in reachable and node.op != "get_attr" and node not in inputs:
            later = start in _needed(node, {start})
            passed = (_needed(node, {start}) - {start}).intersection(inputs)
            if later and not passed and _separates(node, logits, [start]):
                best = node
    return best


def _function(
    graph: fx.Graph,
    starts: list[fx.Node],
    end: fx.Node,
    argument: str,
    marks: dict[fx.Node, Site] | None = None,
    left_out: Collection[fx.Node] = (),
) -> Callable[..., Tensor]:
    """Compile the nodes between ``starts`` and ``end`` to a function of (network, *arguments, *masks).

    - ``left_out``: dropout that is replaced by the identity, and attention whose dropout is set to 0
    """
    wanted = _needed(end, set(starts))
    part = fx.Graph()
    names = [argument] if len(starts) == 1 else [f"{argument}_{index}" for index in range(len(starts))]
    copies: dict[fx.Node, fx.Node] = {start: part.placeholder(name) for start, name in zip(starts, names, strict=True)}
    masks = {node: part.placeholder(f"mask_{index}") for index, node in enumerate(marks or {})}
    for node in graph.nodes:
        if node not in wanted or node in starts:
            continue
        before = dropout.source(node)
        if marks and node in marks:
            copies[node] = part.call_function(apply_mask, (copies[node.args[0]], masks[node], marks[node].axis))
        elif node in left_out and before is not None and not dropout.attends_with_dropout(node):
            copies[node] = copies[before]
        else:
            copies[node] = part.node_copy(node, copies.__getitem__)
            if node in left_out:
                dropout.attend_without_dropout(copies[node])
    part.output(copies[end])
    code = part.python_code(root_module="self")
    namespace: dict[str, Any] = dict(code.globals)
    exec(compile(code.src, f"<domain_masks {argument}>", "exec"), namespace)
    function: Callable[..., Tensor] = namespace["forward"]
    return function
