"""Cut any network into F and T at a named module, with an opening for a mask at the input of every site.

The network's forward is traced by torch.fx, but only through the modules that contain the boundary or a site: all
others stay closed boxes and may do what they like. What comes out are plain functions that take the user's module as
their first argument, so the module itself is neither copied nor changed, and its parameters keep their names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from domain_masks.errors import InputError, unknown


def apply_mask(inputs: Tensor, mask: Tensor | None, axis: int) -> Tensor:
    """Multiply activations with one mask value per neuron or channel.

    - ``inputs``: (N, ...) with K entries along ``axis``
    - ``mask``: (N, K), or None for no mask
    - returns: the shape of ``inputs``
    """
    if mask is None:
        return inputs
    shape = [mask.shape[0]] + [1] * (inputs.dim() - 1)
    shape[axis] = mask.shape[1]
    return inputs * mask.reshape(shape).to(inputs.dtype)


@dataclass(frozen=True)
class Site:
    """A mask site: the module whose input activations are masked.

    - ``name``: the module's qualified name, such as ``layer4.1``
    - ``axis``: the channel axis of its input: 1 for NCHW, -1 for NHWC, tokens (N, T, C) and vectors
    - ``size``: K, the number of channels or neurons
    """

    name: str
    axis: int
    size: int


@dataclass(frozen=True)
class Segments:
    """The three parts of one network, each a function whose first argument is the user's module.

    - ``features(network, images)`` -> the boundary's input
    - ``shared(network, features)`` -> the tensor from which the domains' ways part: computed once for all domains
    - ``masked(network, shared, *masks)`` -> logits; one mask (N, K) or None per site, in the sites' order
    - ``task_names``: the modules and parameters that T uses, whole; everything else belongs to F
    """

    features: Callable[..., Tensor]
    shared: Callable[..., Tensor]
    masked: Callable[..., Tensor]
    task_names: tuple[str, ...]

    def in_task(self, name: str) -> bool:
        """Whether the module or parameter ``name`` belongs to T."""
        return any(name == used or name.startswith(used + ".") for used in self.task_names)


def split_network(network: nn.Module, boundary: str, sites: Sequence[Site]) -> Segments:
    """Cut ``network`` at ``boundary`` and open it at ``sites``, in its present training mode.

    Raises InputError where a name is not a module of the network, is not called exactly once, where the boundary is not
    the only way from the images to the logits, or where a site lies before the boundary.
    """
    graph, boundary_node, mask_nodes = _trace(network, boundary, [site.name for site in sites])
    images = next(node for node in graph.nodes if node.op == "placeholder")
    output = next(node for node in graph.nodes if node.op == "output")
    logits = output.args[0]
    if not isinstance(logits, fx.Node):
        raise InputError(
            f"expected a network that returns one tensor of logits, got {type(logits).__name__}: "
            "switch its auxiliary outputs off or wrap it"
        )
    if not _separates(boundary_node, logits, images):
        raise InputError(
            f"boundary {boundary!r} cannot divide the network: other values computed from the images pass it by. "
            "Expected a module whose input is the only way from the images to the logits, such as a stage or a block"
        )
    for site, node in mask_nodes.items():
        if node not in _needed(logits, {boundary_node}):
            raise InputError(
                f"site {site!r} lies before the boundary {boundary!r} or does not reach the logits: "
                "expected every site in the task network; choose an earlier boundary"
            )
    parting = _parting(graph, boundary_node, logits, list(mask_nodes.values()), images)
    order = [mask_nodes[site.name] for site in sites]
    return Segments(
        features=_function(graph, images, boundary_node, "images"),
        shared=_function(graph, boundary_node, parting, "features"),
        masked=_function(graph, parting, logits, "shared", dict(zip(order, sites, strict=True))),
        task_names=tuple(
            str(node.target)
            for node in graph.nodes
            if node.op in ("call_module", "get_attr") and node in _needed(logits, {boundary_node}) - {boundary_node}
        ),
    )


def _trace(network: nn.Module, boundary: str, sites: list[str]) -> tuple[fx.Graph, fx.Node, dict[str, fx.Node]]:
    """Trace the network; returns the graph, the boundary's input, and the mark at each site's input."""
    known = {name for name, _ in network.named_modules() if name}
    for kind, name in [("boundary", boundary), *(("site", site) for site in sites)]:
        if name not in known:
            raise unknown(kind, name, known_modules(network))
    tracer = _Tracer(network, boundary, sites)
    try:
        graph = tracer.trace(network, concrete_args=default_arguments(network))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"cannot follow the network to {', '.join(dict.fromkeys([boundary, *sites]))}: its forward depends on the "
            f"values of its input there ({type(error).__name__}: {error}). Choose other modules, or wrap the network "
            "so that its forward calls them one after the other"
        ) from error
    counts = {name: len(nodes) for name, nodes in tracer.entered.items()}
    for kind, name in [("boundary", boundary), *(("site", site) for site in sites)]:
        if counts[name] != 1:
            raise InputError(
                f"{kind} {name!r} is called {counts[name]} times in one forward pass: expected a module that is called "
                "exactly once"
            )
    return graph, tracer.entered[boundary][0], {site: tracer.marks[site] for site in sites}


def default_arguments(network: nn.Module) -> dict[str, Any]:
    """Return the optional arguments of the network's forward, such as ``mask=None``: they keep their defaults."""
    arguments = inspect.signature(network.forward).parameters.values()
    return {argument.name: argument.default for argument in arguments if argument.default is not argument.empty}


def known_modules(network: nn.Module) -> list[str]:
    """Return the names that can be a site or boundary, those of the outer modules first."""
    names = [name for name, _ in network.named_modules() if name]
    return sorted(names, key=lambda name: name.count("."))


class _Tracer(fx.Tracer):
    # What the forward computes from a buffer must be computed anew in each call, not once while tracing.
    proxy_buffer_attributes = True

    def __init__(self, root: nn.Module, boundary: str, sites: list[str]) -> None:
        super().__init__(autowrap_functions=tuple(opaque_functions()))
        self.entered: dict[str, list[fx.Node]] = {name: [] for name in [boundary, *sites]}
        self.marks: dict[str, fx.Node] = {}
        self._sites = sites
        self._open = {name[:end] for name in self.entered for end, letter in enumerate(name) if letter == "."}
        self._names = {id(root.get_submodule(name)): name for name in self.entered}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self._open

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and a not in self.tensor_attrs and not self._is_own(a):
            raise InputError(
                f"the forward between {', '.join(self.entered)} uses a tensor of shape {tuple(a.shape)} that is made "
                "there and is no parameter or buffer, so that it would be fixed for ever: expected it to be registered "
                "as a buffer of its module"
            )
        return super().create_arg(a)

    def _is_own(self, tensor: Tensor) -> bool:
        return any(tensor is own for own in (*self.root.parameters(), *self.root.buffers()))

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        name = self._names.get(id(m))
        if name is None:
            return super().call_module(m, forward, args, kwargs)
        if not args or not isinstance(args[0], fx.Proxy):
            raise InputError(f"module {name!r} takes no tensor as its first argument: it can be no boundary or site")
        self.entered[name].append(args[0].node)
        if name in self._sites:
            marked = self.create_proxy("call_function", apply_mask, (args[0], None, 0), {})
            self.marks[name] = marked.node
            args = (marked, *args[1:])
        return super().call_module(m, forward, args, kwargs)


def opaque_functions() -> Iterable[Callable[..., Any]]:
    """Yield the functions that timm declares as not traceable, where timm is already in use."""
    import sys  # noqa: PLC0415

    module = sys.modules.get("timm.layers._fx") or sys.modules.get("timm.models._features_fx")
    getter = getattr(module, "get_notrace_functions", None)
    return getter() if getter is not None else ()


def _needed(target: fx.Node, stop: set[fx.Node]) -> set[fx.Node]:
    """Return the nodes from which ``target`` is computed, without going past ``stop`` (which are included)."""
    found: set[fx.Node] = set()
    open_nodes = [target]
    while open_nodes:
        node = open_nodes.pop()
        if node in found:
            continue
        found.add(node)
        if node not in stop:
            open_nodes.extend(node.all_input_nodes)
    return found


def _separates(cut: fx.Node, target: fx.Node, source: fx.Node) -> bool:
    """Whether every way from ``source`` to ``target`` leads through ``cut``."""
    return cut is source or source not in _needed(target, {cut})


def _parting(graph: fx.Graph, boundary: fx.Node, logits: fx.Node, marks: list[fx.Node], images: fx.Node) -> fx.Node:
    """Return the last single tensor before the first site: until there nothing differs between the domains."""
    before_marks = True
    best = boundary
    reachable = _needed(logits, {boundary})
    for node in graph.nodes:
        if node in marks:
            before_marks = False
        if before_marks and marks and node in reachable and node.op != "get_attr" and node is not images:
            later = boundary in _needed(node, {boundary})
            if later and _separates(node, logits, boundary) and images not in _needed(node, {boundary}) - {boundary}:
                best = node
    return best


def _function(
    graph: fx.Graph, start: fx.Node, end: fx.Node, argument: str, marks: dict[fx.Node, Site] | None = None
) -> Callable[..., Tensor]:
    """Compile the nodes between ``start`` and ``end`` to a function of (network, argument, *masks)."""
    wanted = _needed(end, {start})
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {start: part.placeholder(argument)}
    masks = {node: part.placeholder(f"mask_{index}") for index, node in enumerate(marks or {})}
    for node in graph.nodes:
        if node not in wanted or node is start:
            continue
        if marks and node in marks:
            source = node.args[0]
            copies[node] = part.call_function(apply_mask, (copies[source], masks[node], marks[node].axis))
        else:
            copies[node] = part.node_copy(node, copies.__getitem__)
    part.output(copies[end])
    code = part.python_code(root_module="self")
    namespace = dict(code.globals)
    exec(compile(code.src, f"<domain_masks {argument}>", "exec"), namespace)
    function: Callable[..., Tensor] = namespace["forward"]
    return function


@contextmanager
def training_mode(network: nn.Module, mode: bool) -> Iterator[None]:
    """Put every module into training or evaluation mode for the block, then each back into its own."""
    before = {module: module.training for module in network.modules()}
    network.train(mode)
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
