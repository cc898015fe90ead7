"""A network as a graph of its layers, traced by torch.fx.

Training traces a network only down to its sites (``networks/split.py``); folding and pruning need to know which layers a
masked input feeds. Modules that cannot be traced remain opaque, and nothing is assumed about them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from domain_masks.errors import InputError
from domain_masks.networks.site import Site
from domain_masks.networks.tracer import ThreadTracer
from domain_masks.networks.tracing import default_arguments, opaque_functions, training_mode

# Leaf modules, recognised by class; subclasses that modify their weights are detected later.
_LAYERS = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.Linear)


def site_input(inputs: Tensor) -> Tensor:
    """Return ``inputs``; marks the masked input of a site in the graph."""
    return inputs


@dataclass(frozen=True)
class LayerGraph:
    """A traced network in evaluation mode, with the shape of every value.

    - ``network``: the module that was traced; its layers are those that the graph calls
    - ``marks``: site -> the node at its input
    """

    network: nn.Module
    graph: fx.Graph
    marks: Mapping[str, fx.Node]

    def layer(self, node: fx.Node) -> nn.Module | None:
        """Return the layer that a node calls if it can be changed in place: called once, without shared parameters."""
        if node.op != "call_module" or not self._is_unshared(str(node.target)):
            return None
        return self.network.get_submodule(str(node.target))

    def _is_unshared(self, name: str) -> bool:
        layer = self.network.get_submodule(name)
        if sum(node.op == "call_module" and node.target == name for node in self.graph.nodes) != 1:
            return False
        uses = Counter(id(parameter) for _, parameter in self.network.named_parameters(remove_duplicate=False))
        places = sum(module is layer for _, module in self.network.named_modules(remove_duplicate=False))
        has_hooks = bool(layer._forward_hooks or layer._forward_pre_hooks)
        return places == 1 and not has_hooks and all(uses[id(parameter)] == 1 for parameter in layer.parameters())


def layer_graph(network: nn.Module, sites: Sequence[Site], image_size: int) -> LayerGraph:
    """Trace ``network`` in evaluation mode down to its layers, as far as possible.

    Raises InputError if the network cannot be traced to a site.
    """
    with training_mode(network, False):
        tracer = _LayerTracer(network, [site.name for site in sites])
        try:
            graph = tracer.trace(network, concrete_args=default_arguments(network))
        except Exception as error:
            raise InputError(
                f"cannot trace the network to its layers ({type(error).__name__}: {error}): expected a forward that does not "
                "depend on the values of its input"
            ) from error
        missing = [site.name for site in sites if site.name not in tracer.marks]
        if missing:
            raise InputError(f"cannot trace the network to its mask sites {', '.join(missing)}")
        first = next(network.parameters(), torch.zeros(()))
        # Two images, so that the batch is not confused with an axis of size 1.
        example = torch.zeros(2, 3, image_size, image_size, dtype=first.dtype, device=first.device)
        with torch.no_grad():
            ShapeProp(fx.GraphModule(network, graph)).propagate(example)
    return LayerGraph(network, graph, tracer.marks)


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """Return the shape of a node's tensor with batch size 2; None if the node is not a tensor."""
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if isinstance(meta, TensorMetadata) else None


def asks_batch_size_alone(node: fx.Node) -> bool:
    """Whether a node only reads the size of its input's first axis."""
    if node.op == "call_method" and node.target == "size":
        return len(node.args) == 2 and bool(node.args[1] == 0)
    if node.op != "call_function" or node.target is not getattr or node.args[1] != "shape":
        return False
    return all(len(user.args) == 2 and bool(user.args[1] == 0) for user in node.users)


class _LayerTracer(ThreadTracer):
    # As in the network itself, values computed from a buffer are recomputed in each call.
    proxy_buffer_attributes = True

    def __init__(self, root: nn.Module, sites: Sequence[str]) -> None:
        super().__init__(autowrap_functions=(site_input, *opaque_functions()))
        self.marks: dict[str, fx.Node] = {}
        self._sites = {id(root.get_submodule(name)): name for name in sites}
        self._on_the_way = {name[:end] for name in sites for end, letter in enumerate(name) if letter == "."}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LAYERS) or super().is_leaf_module(m, module_qualified_name)

    def create_arg(self, a: Any) -> Any:
        if isinstance(a, Tensor) and a not in self.tensor_attrs:
            raise fx.proxy.TraceError("a tensor that is created in the forward pass")
        return super().create_arg(a)

    def called(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        site = self._sites.get(id(m))
        if site is not None:
            marked = self.create_proxy("call_function", site_input, (args[0],), {})
            self.marks[site] = marked.node
            args = (marked, *args[1:])
        name = self.path_of_module(m)
        if self.is_leaf_module(m, name):
            return super().called(m, forward, args, kwargs)
        before, stack = len(self.graph.nodes), self.module_stack.copy()
        try:
            return super().called(m, forward, args, kwargs)
        except Exception:
            if name in self._on_the_way:
                raise
            # Remove the partial trace and keep the module as a leaf.
            self.module_stack = stack
            for node in reversed(list(self.graph.nodes)[before:]):
                self.graph.erase_node(node)
            return self.create_proxy("call_module", name, args, kwargs)
