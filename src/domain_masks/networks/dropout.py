"""Find dropout: modules, calls in a traced graph, and dropout at the end of an untraced module.

Dropout of every form counts, DropBlock and drop path too: everything random except the masks.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, fx, nn

from domain_masks.networks.tracer import ThreadTracer
from domain_masks.networks.tracing import default_arguments, module_output

_MODULE = re.compile(r"Drop(out|Path|Block|Connect)|StochasticDepth")
_FUNCTION = re.compile(r"(^|_)drop(out|_?path|_?block|_?connect)|stochastic_depth|feature_dropout")
_ATTENTION = {"scaled_dot_product_attention": 4, "multi_head_attention_forward": 10}
"""Torch's attention functions -> index of the argument ``dropout_p``."""
# Operations that only move values: dropout before them is equivalent to dropout after them.
_MOVING_MODULES = (nn.Identity, nn.Flatten, nn.Unflatten)
_MOVING = frozenset(
    {
        *(
            "view",
            "reshape",
            "flatten",
            "unflatten",
            "ravel",
            "squeeze",
            "unsqueeze",
            "contiguous",
            "clone",
            "to",
            "float",
        ),
        *("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "type_as", "t"),
        module_output.__name__,
    }
)
_SELECTING = frozenset({"select", "getitem", "narrow"})
_IN_SOURCE = re.compile(
    r"(drop|stochastic_depth)\w*\((?:[^()]|\([^()]*\))*self\.training"  # dropout(x, self.p, self.training)
    r"|drop\w*\s*=\s*[^,\n]*self\.training\s+else\s+0"  # attention(..., dropout_p=self.p if self.training else 0.0)
    r"|scaled_dot_product_attention\((?:[^()]|\([^()]*\))*self\.training"  # the same by position
    r"|\w*drop\w*\s*=[^()]*training\s*=\s*self\.training"  # attention(..., dropout=self.p, training=self.training)
    r"|if self\.training[^\n]*:\s*[^\n]*\bdrop\w*\("  # if self.training: x = dropout(x)
)


def is_dropout(module: nn.Module) -> bool:
    """Return whether a module only drops activations: torch's own, or a class named dropout, DropBlock or drop path."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return True
    named = _MODULE.search(type(module).__name__) is not None
    return named and next(module.parameters(), None) is None and next(module.children(), None) is None


def drops(node: fx.Node, network: nn.Module) -> bool:
    """Return whether a node of a traced graph only applies dropout."""
    if node.op == "call_module":
        return is_dropout(network.get_submodule(str(node.target)))
    return node.op == "call_function" and _FUNCTION.search(name_of(node)) is not None


def moves(node: fx.Node, network: nn.Module) -> bool:
    """Return whether a node only reshapes, permutes or selects values of one tensor."""
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), _MOVING_MODULES)
    return selects(node) or (node.op in ("call_function", "call_method") and name_of(node) in _MOVING)


def selects(node: fx.Node) -> bool:
    """Return whether a node selects a part of a tensor, such as the class token."""
    return node.op in ("call_function", "call_method") and name_of(node) in _SELECTING


def source(node: fx.Node) -> fx.Node | None:
    """Return the input tensor of a node of dropout or reshaping."""
    first = node.args[0] if node.args else node.kwargs.get("input")
    return first if isinstance(first, fx.Node) else None


def attends_with_dropout(node: fx.Node) -> bool:
    """Return whether a node is torch's attention with a dropout argument."""
    return (
        node.op == "call_function"
        and name_of(node) in _ATTENTION
        and ("dropout_p" in node.kwargs or len(node.args) > _ATTENTION[name_of(node)])
    )


def attend_without_dropout(node: fx.Node) -> None:
    """Set the dropout probability of a node of :func:`attends_with_dropout` to 0."""
    if "dropout_p" in node.kwargs:
        node.update_kwarg("dropout_p", 0.0)
    else:
        node.update_arg(_ATTENTION[name_of(node)], 0.0)


def ends_in_dropout(module: nn.Module) -> set[str]:
    """Return the names, relative to ``module``, of the modules to trace into so that its final dropout is in the graph.

    ``""`` is the module itself. Empty if it does not end in dropout, or cannot be traced.
    """
    last = (
        None
        if is_dropout(module) or (_is_of_torch(module) and not isinstance(module, nn.Sequential))
        else _last(module)
    )
    if last is None:
        return set()
    if drops(last, module):
        return {""}
    if last.op != "call_module":
        return set()
    inner = ends_in_dropout(module.get_submodule(str(last.target)))
    return {"", *(f"{last.target}.{name}".rstrip(".") for name in inner)} if inner else set()


def _last(module: nn.Module) -> fx.Node | None:
    """Return the last step of a module's own forward, ignoring reshaping; None if there is none, or it cannot be traced."""
    try:
        graph = _Shallow().trace(module, concrete_args=default_arguments(module))
    except Exception:  # a forward that cannot be traced
        return None
    node: Any = next(node for node in graph.nodes if node.op == "output").args[0]
    while isinstance(node, fx.Node) and moves(node, module):
        node = source(node)
    return node if isinstance(node, fx.Node) and node.op != "placeholder" else None


def drops_within(network: nn.Module, belongs: Callable[[str], bool]) -> Iterator[str]:
    """Yield the modules of ``network`` whose own forward applies functional dropout depending on ``training``.

    - ``belongs``: selects modules by name
    """
    kinds = {type(module) for module in network.modules()}
    dropping = {kind for kind in kinds if not kind.__module__.startswith("torch.nn.") and _source_drops(kind)}
    for name, module in network.named_modules():
        if not name or not belongs(name) or is_dropout(module):
            continue
        if isinstance(module, nn.MultiheadAttention):
            if module.dropout:
                yield name
        elif type(module) in dropping:
            yield name


def recurrent_dropout(network: nn.Module, belongs: Callable[[str], bool]) -> list[str]:
    """Return the recurrent layers with dropout between their layers, which cannot be disabled from outside."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.RNNBase) and module.dropout and module.num_layers > 1 and belongs(name)
    ]


def _source_drops(kind: type[nn.Module]) -> bool:
    own = [base for base in kind.__mro__ if not base.__module__.startswith("torch.nn.") and base is not object]
    try:
        return any(_IN_SOURCE.search(inspect.getsource(base)) for base in own)
    except (OSError, TypeError):  # defined interactively, without a source file
        return False


def _is_of_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def name_of(node: fx.Node) -> str:
    """Return the name of the function, method or module that a node calls."""
    target: Any = node.target
    return target if isinstance(target, str) else getattr(target, "__name__", "")


class _Shallow(ThreadTracer):
    """Traces one module's own forward; its submodules stay leaf modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def create_arg(self, a: Any) -> Any:
        # Tensors that the forward creates are irrelevant here, and must not be added as attributes.
        return None if isinstance(a, Tensor) and not isinstance(a, nn.Parameter) else super().create_arg(a)
