"""A network as a graph of its layers, opened wherever torch.fx can follow it.

To train, a network is opened no further than to its sites (``networks/split.py``); to fold and prune one must see which
layers a masked input feeds. Modules that cannot be followed stay closed boxes, about which nothing is assumed.
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

# Closed, so that they can be told by their class; subclasses of convolutions that change their weights are told apart later.
_LAYERS = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.Linear)


def site_input(inputs: Tensor) -> Tensor:
    """Return ``inputs``: marks in a graph where a site's input is masked."""
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
        """Return the layer that a node calls, if it may be changed in place: called once, its parameters its own."""
        if node.op != "call_module" or not self._is_alone(str(node.target)):
            return None
        return self.network.get_submodule(str(node.target))

    def _is_alone(self, name: str) -> bool:
        layer = self.network.get_submodule(name)
        if sum(node.op == "call_module" and node.target == name for node in self.graph.nodes) != 1:
            return False
        uses = Counter(id(own) for _, own in self.network.named_parameters(remove_duplicate=False))
        places = sum(module is layer for _, module in self.network.named_modules(remove_duplicate=False))
        has_hooks = bool(layer._forward_hooks or layer._forward_pre_hooks)
        return places == 1 and not has_hooks and all(uses[id(own)] == 1 for own in layer.parameters())


def layer_graph(network: nn.Module, sites: Sequence[Site], image_size: int) -> LayerGraph:
    """Trace ``network`` in evaluation mode down to its layers, as far as it can be followed.

    Raises InputError where the way to a site cannot be followed.
    """
    with training_mode(network, False):
        tracer = _LayerTracer(network, [site.name for site in sites])
        try:
            graph = tracer.trace(network, concrete_args=default_arguments(network))
        except Exception as error:
            raise InputError(
                f"cannot follow the network to its layers ({type(error).__name__}: {error}): expected a forward that does not "
                "depend on the values of its input"
            ) from error
        missing = [site.name for site in sites if site.name not in tracer.marks]
        if missing:
            raise InputError(f"cannot follow the network to its mask sites {', '.join(missing)}")
        first = next(network.parameters(), torch.zeros(()))
        # Two images, so that no axis of the batch is taken for one of size 1.
        example = torch.zeros(2, 3, image_size, image_size, dtype=first.dtype, device=first.device)
        with torch.no_grad():
            ShapeProp(fx.GraphModule(network, graph)).propagate(example)
    return LayerGraph(network, graph, tracer.marks)


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """Return the shape of a node's tensor, the batch being 2; None where it is something else."""
    meta = node.meta.get("tensor_meta")
    return tuple(meta.shape) if isinstance(meta, TensorMetadata) else None


def asks_batch_size_alone(node: fx.Node) -> bool:
    """Whether a node looks at nothing of its input but the size of its first axis."""
    if node.op == "call_method" and node.target == "size":
        return len(node.args) == 2 and bool(node.args[1] == 0)
    if node.op != "call_function" or node.target is not getattr or node.args[1] != "shape":
        return False
    return all(len(user.args) == 2 and bool(user.args[1] == 0) for user in node.users)


class _LayerTracer(ThreadTracer):
    # As in the network itself, what is computed from a buffer is computed anew in each call.
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
            raise fx.proxy.TraceError("a tensor that is made in the forward and is no parameter or buffer")
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
            # What was begun is taken back, and the module stays a closed box.
            self.module_stack = stack
            for node in reversed(list(self.graph.nodes)[before:]):
                self.graph.erase_node(node)
            return self.create_proxy("call_module", name, args, kwargs)
