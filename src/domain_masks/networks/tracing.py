"""Trace a network's forward pass into the modules that contain its boundary and sites; all others stay leaf modules."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from domain_masks.errors import InputError, unknown
from domain_masks.networks.site import apply_mask
from domain_masks.networks.tracer import ThreadTracer

_DROPPING = {
    "timm.layers.drop": ("drop_path", "drop_block_2d"),
    "torchvision.ops": ("stochastic_depth", "drop_block2d", "drop_block3d"),
}


@dataclass(frozen=True)
class Traced:
    """A network's graph with the nodes of its boundary and sites.

    - ``inputs``: the network's inputs, in order
    - ``boundary``: the tensor that enters the boundary
    - ``marks``: site -> the node that represents its mask
    - ``opened``: the modules that were traced into -> whether each returns a single tensor
    """

    graph: fx.Graph
    inputs: list[fx.Node]
    boundary: fx.Node
    marks: dict[str, fx.Node]
    opened: dict[str, bool]


def module_output(output: Any, name: str) -> Any:
    """Mark, in a graph, the output of a module that was traced into and is therefore not called."""
    return output


def trace(
    network: nn.Module,
    boundary: str,
    sites: Sequence[str],
    inputs: int = 1,
    opened: Collection[str] = (),
    watched: bool = False,
) -> Traced:
    """Trace ``network`` in its current training mode.

    - ``inputs``: number of arguments of its forward
    - ``opened``: modules that are traced into, besides those that contain boundary and sites
    - ``watched``: mark the outputs of all modules that are traced into with :func:`module_output`

    Raises InputError for a name that is not a module of the network or is not called exactly once, and if the forward cannot
    be traced to it.
    """
    known = {name for name, _ in network.named_modules() if name}
    for kind, name in [("boundary", boundary), *(("site", site) for site in sites)]:
        if name not in known:
            raise unknown(kind, name, known_modules(network))
    tracer = _Tracer(network, boundary, sites, opened, watched)
    try:
        graph = tracer.trace(network, concrete_args=default_arguments(network, inputs))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"cannot trace the network to {', '.join(dict.fromkeys([boundary, *sites]))}: its forward depends on the "
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
    placeholders = [node for node in graph.nodes if node.op == "placeholder"][:inputs]
    marks = {site: tracer.marks[site] for site in sites}
    return Traced(graph, placeholders, tracer.entered[boundary][0], marks, tracer.opened)


def default_arguments(network: nn.Module, inputs: int = 1) -> dict[str, Any]:
    """Return name -> default of the optional arguments of the network's forward after its ``inputs``, such as ``mask``."""
    arguments = list(inspect.signature(network.forward).parameters.values())[inputs:]
    return {argument.name: argument.default for argument in arguments if argument.default is not argument.empty}


def required_arguments(network: nn.Module) -> int:
    """Return the number of required arguments of the network's forward; at least 1."""
    arguments = inspect.signature(network.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return max(1, sum(argument.kind in positional and argument.default is argument.empty for argument in arguments))


def known_modules(network: nn.Module) -> list[str]:
    """Return the names of modules that can be a site or boundary, outer modules first."""
    names = [name for name, _ in network.named_modules() if name]
    return sorted(names, key=lambda name: name.count("."))


@contextmanager
def training_mode(network: nn.Module, mode: bool, but: Collection[str] = ()) -> Iterator[None]:
    """Set every module to training or evaluation mode within the block, then restore each module's mode.

    - ``but``: names of modules that keep their mode
    """
    before = {module: module.training for module in network.modules()}
    network.train(mode)
    for name in but:
        module = network.get_submodule(name)
        module.training = before[module]
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


class _Tracer(ThreadTracer):
    # Values computed from a buffer must be computed in each call, not once during tracing.
    proxy_buffer_attributes = True

    def __init__(
        self, root: nn.Module, boundary: str, sites: Sequence[str], opened: Collection[str], watched: bool
    ) -> None:
        super().__init__(autowrap_functions=tuple(opaque_functions()))
        self.entered: dict[str, list[fx.Node]] = {name: [] for name in [boundary, *sites]}
        self.marks: dict[str, fx.Node] = {}
        self.opened: dict[str, bool] = {}
        self._watched = watched
        self._sites = sites
        within = [*self.entered, *(f"{name}." for name in opened)]
        self._open = {name[:end] for name in within for end, letter in enumerate(name) if letter == "."}
        self._names = {id(root.get_submodule(name)): name for name in self.entered}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self._open

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and a not in self.tensor_attrs and not self._is_own(a):
            raise InputError(
                f"the forward between {', '.join(self.entered)} creates a tensor of shape {tuple(a.shape)}, which is not a "
                "parameter or buffer and would become a constant: register it as a buffer of its module"
            )
        return super().create_arg(a)

    def _is_own(self, tensor: Tensor) -> bool:
        return any(tensor is own for own in (*self.root.parameters(), *self.root.buffers()))

    def called(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._noted(m, self._called(m, forward, args, kwargs))

    def _noted(self, m: nn.Module, output: Any) -> Any:
        """Record the output of a module that was traced into."""
        path = self.path_of_module(m)
        if self.is_leaf_module(m, path):
            return output
        self.opened[path] = isinstance(output, fx.Proxy)
        if not self._watched or not self.opened[path]:
            return output
        return self.create_proxy("call_function", module_output, (output, path), {})

    def _called(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = self._names.get(id(m))
        if name is None:
            return super().called(m, forward, args, kwargs)
        if not args or not isinstance(args[0], fx.Proxy):
            raise InputError(f"module {name!r} does not take a tensor first: expected another boundary or site")
        self.entered[name].append(args[0].node)
        if name in self._sites:
            marked = self.create_proxy("call_function", apply_mask, (args[0], None, 0), {})
            self.marks[name] = marked.node
            args = (marked, *args[1:])
        return super().called(m, forward, args, kwargs)


def opaque_functions() -> Iterable[Callable[..., Any]]:
    """Yield the functions that timm declares as not traceable, and libraries' own dropout functions, if imported."""
    module = sys.modules.get("timm.layers._fx") or sys.modules.get("timm.models._features_fx")
    getter = getattr(module, "get_notrace_functions", None)
    if getter is not None:
        yield from getter()
    for library, names in _DROPPING.items():
        loaded = sys.modules.get(library)
        yield from (getattr(loaded, name) for name in names if callable(getattr(loaded, name, None)))
