"""A classifier that is split into F and T at a boundary: base of all methods' networks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError, unknown
from domain_masks.networks import dropout
from domain_masks.networks.calling import call_with, eagerly, runs_eagerly
from domain_masks.networks.inputs import Inputs, Signature, blank_inputs, check_features, check_inputs, example_of
from domain_masks.networks.outputs import Changes, Counted, hooked
from domain_masks.networks.presets import find_head
from domain_masks.networks.site import Site, channel_means
from domain_masks.networks.sites import channel_axis, resolve_sites
from domain_masks.networks.split import Segments, split_network
from domain_masks.networks.tracing import known_modules, required_arguments, training_mode
from domain_masks.randomness import repeated

_REBUILT = ("_segments", "_compiled", "_changes", "_changeable")
"""Attributes left out of copies and pickles: compiled functions cannot be pickled, and are created again."""


class Network(nn.Module):
    """The user's classifier M = T ∘ F, split at the input of the module ``boundary`` (Section 3.1).

    Dropout directly before the boundary, with or without reshaping in between, belongs to T.

    The user's module is kept under ``network``; nothing in it is replaced, renamed or hooked.

    - ``network``: images (N, 3, H, W) -> logits (N, C); with ``example_input`` other inputs
    - ``boundary``: qualified name of the module where T begins
    - ``sites``: the modules of T whose inputs can be masked; empty for a network without masks
    - ``image_size``: H = W of the images, in pixels
    - ``example_input``: a tensor (N, ...), or a tuple of tensors, with which the network can be called; None: images
    - ``dropout_in_task``: False disables T's dropout (of every form, drop path too) in training, as the paper does for
      AlexNet while masks are learned (Section 4.1); F's dropout is kept

    Raises InputError if the network cannot be split there, or T's dropout cannot be disabled.
    """

    def __init__(
        self,
        network: nn.Module,
        boundary: str,
        sites: Sequence[str | Site] = (),
        image_size: int = 224,
        dropout_in_task: bool = True,
        example_input: Inputs | None = None,
    ) -> None:
        super().__init__()
        example, signature = example_of(network, example_input, image_size)
        self.sites, classes = resolve_sites(network, sites, example, signature)
        # Explicit sites need no example; without a valid one the inputs' properties are unknown.
        self._signature = signature if classes is not None else Signature(required_arguments(network))
        self.classes = _outputs(network) if classes is None else classes
        self.boundary = boundary
        self.image_size = image_size
        self.dropout_in_task = dropout_in_task
        self.is_frozen = False
        self.keeps_statistics = False
        self.holds_features = False
        self._still_trained: Collection[str] = ()
        self.network = network
        self._segments = self._split()
        self._compiled: dict[bool, Segments] | None = None
        self._changes = Changes()
        self._changeable: dict[bool, Segments] = {}
        self._silent = () if dropout_in_task else self._task_dropout()
        # Modules whose own forward applies dropout depending on `training`; their children are not changed.
        self._silent_alone = () if dropout_in_task else tuple(dropout.drops_within(network, self._is_of_task_alone))
        self.train(network.training)

    def _split(self, changes: Changes | None = None) -> dict[bool, Segments]:
        inputs, silent = self._signature.count, not self.dropout_in_task
        return split_network(self.network, self.boundary, self.sites, inputs, silent, changes)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _REBUILT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"_signature": Signature(), "_still_trained": (), **state})  # type: ignore[no-untyped-call]
        self._segments, self._compiled = self._split(), None
        self._changes, self._changeable = Changes(), {}

    def train(self, mode: bool = True) -> Network:
        """Set training or evaluation mode.

        Disabled dropout in T stays off; a frozen network, and batch norm that keeps its statistics, stay in evaluation mode.
        """
        super().train(mode)
        if getattr(self, "is_frozen", False):
            self.network.eval()
        for name in getattr(self, "_silent", ()):
            self.network.get_submodule(name).eval()
        for name in getattr(self, "_silent_alone", ()):
            self.network.get_submodule(name).training = False
        if getattr(self, "keeps_statistics", False):
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def freeze(self) -> None:
        """Freeze the user's network: no gradients, no updates of batch norm statistics, no dropout; masks are still trained."""
        self.is_frozen = True
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)
        self.train(self.training)

    def keep_statistics(self) -> None:
        """Fix the running statistics of batch norm: training normalises with them, too, and trains weight and bias alone."""
        self.keeps_statistics = True
        self.train(self.training)

    @property
    def segments(self) -> Segments:
        """The segments F, shared T and masked T for the network's mode."""
        return self._segments_in(self.training and not self.is_frozen)

    def _segments_in(self, mode: bool) -> Segments:
        if self._changes.functions:
            return self._changeable[mode]
        if self._compiled is not None and not runs_eagerly():
            return self._compiled[mode]
        return self._segments[mode]

    def _task_dropout(self) -> tuple[str, ...]:
        if fixed := dropout.recurrent_dropout(self.network, self._segments[True].in_task):
            raise InputError(
                f"{', '.join(fixed)} has dropout between its recurrent layers, which cannot be disabled while masks are "
                "trained: set its dropout to 0, or keep the task network's dropout on (dropout_in_task, --method.dropout)"
            )
        return tuple(
            name
            for name, module in self.network.named_modules()
            if name and dropout.is_dropout(module) and self._is_of_task_alone(name)
        )

    def _is_of_task_alone(self, name: str) -> bool:
        segments = self._segments[True]
        return segments.in_task(name) and not segments.in_features(name)

    def features(self, images: Inputs) -> Tensor:
        """Run F: images (N, 3, H, W) -> features (N, ...), the boundary's input before any dropout directly in front of it."""
        inputs = check_inputs(images, self._signature)
        if not getattr(self, "holds_features", False):
            return self.segments.features(self.network, *inputs)
        # With gradients, which a method may take with respect to the images.
        with training_mode(self.network, False, self._still_trained):
            return self._segments_in(False).features(self.network, *inputs)

    @torch.no_grad()
    def frozen_features(self, images: Tensor) -> Tensor:
        """Run F in evaluation mode and without gradients: images (N, 3, H, W) -> features (N, ...)."""
        with training_mode(self.network, False):
            return self._segments_in(False).features(self.network, images)

    def freeze_features(self) -> None:
        """Freeze F's parameters; F must then be run by :meth:`frozen_features`."""
        trained = self.task_state()
        for name, parameter in self.network.named_parameters():
            if name not in trained:
                parameter.requires_grad_(False)

    def hold_features(self, held: bool, but: Collection[str] = ()) -> None:
        """Set whether F runs in evaluation mode also in training, with the batch norm and dropout of evaluation.

        - ``but``: names of F's modules that keep their mode
        """
        self.holds_features, self._still_trained = held, tuple(but)

    def task(self, features: Tensor, domains: Tensor | None = None) -> Tensor:
        """Run T: features (N, ...) -> logits (N, C); ``domains``, (N,) or None, is not used here."""
        check_features(features)
        segments = self.segments
        return segments.masked(self.network, segments.shared(self.network, features), *[None] * len(self.sites))

    def under_each(
        self, features: Tensor, sets: int, at_openings: Callable[[Callable[[Tensor], Tensor]], Sequence[Any]]
    ) -> Tensor:
        """Run T once for P sets of operations at its openings; the batch size is N before the first opening, P·N after it.

        - ``features``: (N, ...); ``sets``: P
        - ``at_openings``: returns the operation at each opening; its argument maps a tensor of all sets (P, ...) to the rows,
          (P·N, ...)
        - returns: logits (P, N, C)
        """
        check_features(features)
        segments = self.segments
        shared = segments.shared(self.network, features)
        count = shared.shape[0]
        copies = shared.unsqueeze(0).expand(sets, *shared.shape).flatten(0, 1)

        def of_rows(values: Tensor) -> Tensor:
            # Unlike repeat_interleave, this can be exported to ONNX with a dynamic batch.
            return values.unsqueeze(1).expand(-1, count, *values.shape[1:]).flatten(0, 1)

        operations = at_openings(of_rows)
        # Layers draw random numbers in training only; torch.export cannot trace this context.
        with repeated(sets) if self.training else nullcontext():
            logits = segments.masked(self.network, copies, *operations)
        return logits.reshape(sets, count, logits.shape[-1])

    def forward(self, images: Inputs, domains: Tensor | None = None) -> Tensor:
        """Run T ∘ F: images (N, 3, H, W), or a tuple of inputs, and domains (N,) or None -> logits (N, C)."""
        return self.task(self.features(images), domains)

    def call(
        self,
        part: Literal["features", "task", "network"],
        weights: Mapping[str, Tensor],
        inputs: Inputs,
        domains: Tensor | None = None,
        update_statistics: bool = False,
        **options: Any,
    ) -> Tensor:
        """Run F, T or both with other weights, as in an inner loop; twice differentiable.

        Mode, dropout and masks are as with the network's own weights. Compiled parts run eagerly.

        - ``part``: ``features``, images -> features (N, ...); ``task``, features -> logits (N, C); ``network``: both
        - ``weights``: name in ``named_parameters()`` or ``named_buffers()`` -> tensor; other tensors are unchanged
        - ``domains``: (N,), or None if unknown or not used
        - ``update_statistics``: whether the pass updates batch norm's running statistics that ``weights`` does not name
        - ``options``: further arguments of :meth:`task`, such as the noise of sampled masks

        Raises InputError for another part, and for weights that are not the network's.
        """
        runs: dict[str, Any] = {
            "features": lambda net: net.features(inputs),
            "task": lambda net: net.task(inputs, domains, **options),
            "network": lambda net: net.task(net.features(inputs), domains, **options),
        }
        if part not in runs:
            raise unknown("part of the network", part, runs)
        result: Tensor = call_with(self, weights, runs[part], update_statistics)
        return result

    @contextmanager
    def on_output(self, module_name: str, function: Callable[[Any], Any]) -> Iterator[None]:
        """Replace the output of a module of the user's network by ``function(output)`` within the block.

        It works for modules of F and T, including modules that are traced into, whose PyTorch forward hooks do not run.
        Compiled parts run eagerly in the block. With activation checkpointing the backward pass must be in the block, too.

        - ``module_name``: as in ``named_modules()`` of the user's network

        Raises InputError for an unknown module, for a module that is traced into and does not return a single tensor, and, at
        the end of the block, for a module that was not called.
        """
        modules = dict(self.network.named_modules(remove_duplicate=False))
        module = modules.get(module_name) if module_name else None
        if module is None:
            raise unknown("module", module_name, known_modules(self.network))
        opened = self._opened
        if not opened.get(module_name, True):
            raise InputError(
                f"module {module_name!r} contains the boundary or a mask site and does not return a single tensor, so its "
                "output cannot be changed. Choose a module within it or after it"
            )
        change = Counted(module_name, function)
        if module_name in opened and not self._changeable:
            self._changeable = self._split(self._changes)
        # Both: one segment can trace into a module that another one calls.
        looked_into = self._changes.add(module_name, change) if module_name in opened else nullcontext()
        with eagerly(), hooked(module, change), looked_into:
            yield
        change.require_made("T" if module_name in opened or not self.in_features(module_name) else "F")

    @property
    def _opened(self) -> Mapping[str, bool]:
        """The modules that are traced into -> whether each returns a single tensor."""
        return self._segments[True].opened

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of the features of one image, without the batch axis.

        Raises InputError if the network's inputs are unknown.
        """
        inputs = blank_inputs(self.network, self._signature)
        with torch.no_grad(), training_mode(self.network, False):
            return tuple(self._segments[False].features(self.network, *inputs).shape[1:])

    def pooled(self, features: Tensor) -> Tensor:
        """Return the mean of every channel of the boundary's input over positions: features (N, ...) -> (N, K)."""
        features = self.segments.entering(self.network, features)
        axes = [site.axis for site in self.sites if site.name == self.boundary]
        module = self.network.get_submodule(self.boundary)
        return channel_means(features, axes[0] if axes else channel_axis(module, tuple(features.shape)))

    def in_features(self, name: str) -> bool:
        """Return whether the module or tensor ``name`` of the user's network belongs to F, or contains parts of F and T."""
        return not self._segments[True].in_task(name) and name not in self._task_containers

    @cached_property
    def _task_containers(self) -> frozenset[str]:
        """Containers (Sequential, ModuleList, ModuleDict) whose children all belong to T."""
        in_task = self._segments[True].in_task
        containers: set[str] = set()
        for name, module in reversed(list(self.network.named_modules())):
            if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict) and len(module):
                children = [f"{name}.{child}" for child, _ in module.named_children()]
                if all(in_task(child) or child in containers for child in children):
                    containers.add(name)
        return frozenset(containers)

    def task_state(self) -> dict[str, Tensor]:
        """Return the parameters and buffers of T that belong to the user's network, by name."""
        return {name: value for name, value in self._tensors() if self._segments[True].in_task(name)}

    def feature_state(self) -> dict[str, Tensor]:
        """Return the parameters and buffers of F, by name."""
        return {name: value for name, value in self._tensors() if not self._segments[True].in_task(name)}

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.network.named_parameters()
        yield from self.network.named_buffers()

    def compile_segments(self) -> None:
        """Compile F and T with ``torch.compile``; copies and pickles of the network are not compiled.

        Layers such as dropout draw the same random numbers as without.
        """
        as_eager: dict[str, str | int | bool | Callable[..., Any]] = {"fallback_random": True}
        self._compiled = {
            mode: replace(
                segments,
                features=torch.compile(segments.features, options=as_eager),
                shared=torch.compile(segments.shared, options=as_eager),
                masked=torch.compile(segments.masked, options=as_eager),
            )
            for mode, segments in self._segments.items()
        }


def _outputs(network: nn.Module) -> int | None:
    """Return the number of outputs of the last layer; None without a last layer."""
    try:
        head = network.get_submodule(find_head(network))
    except InputError:
        return None
    return int(head.out_features if isinstance(head, nn.Linear) else head.out_channels)  # type: ignore[arg-type]
