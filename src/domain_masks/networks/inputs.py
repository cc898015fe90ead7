"""Inputs of a split network: an example, and checks with one message each.

Checks are skipped while a network is compiled or exported; values of tensors on an accelerator are not checked, because
reading them would synchronise with the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from domain_masks.errors import InputError

Inputs = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Signature:
    """Properties of a network's inputs, from an example; plain values, so that it can be pickled.

    - ``count``: number of inputs
    - ``dims``: number of axes of each input; empty without an example
    - ``floating``: whether each input is floating-point
    - ``images``: whether the single input is images (N, 3, H, W)
    - ``shapes``: shape of each input without the batch; empty without an example
    """

    count: int = 1
    dims: tuple[int, ...] = ()
    floating: tuple[bool, ...] = ()
    images: bool = False
    shapes: tuple[tuple[int, ...], ...] = ()

    @property
    def expected(self) -> str:
        """Description of the expected inputs, for messages."""
        if self.images:
            return "images as a tensor (N, 3, H, W)"
        return "one tensor" if self.count == 1 else f"a tuple of {self.count} tensors"


def example_of(
    network: nn.Module, example_input: Inputs | None, image_size: int
) -> tuple[tuple[Tensor, ...], Signature]:
    """Return an example of a network's inputs, on the device of its parameters, and its signature.

    - ``example_input``: a tensor, or a tuple of tensors for several inputs; None: images (1, 3, H, W)

    Raises InputError for other types, and for inputs whose first axis is not the batch.
    """
    first = next(network.parameters(), torch.zeros(()))
    if example_input is None:
        images = torch.zeros(1, 3, image_size, image_size, dtype=first.dtype, device=first.device)
        return (images,), Signature(1, (4,), (True,), images=True, shapes=((3, image_size, image_size),))
    example = example_input if isinstance(example_input, tuple) else (example_input,)
    if not example or not all(isinstance(value, Tensor) and value.dim() > 0 for value in example):
        got = ", ".join(type(value).__name__ for value in example) or "an empty tuple"
        raise InputError(f"example_input: expected a tensor (N, ...) or a tuple of them, got {got}")
    if len({value.shape[0] for value in example}) > 1 or example[0].shape[0] == 0:
        raise InputError(
            "example_input: expected tensors with the same batch of at least one row on their first axis, got "
            f"{_shapes(example)}"
        )
    moved = tuple(
        value.to(first.device, first.dtype) if value.is_floating_point() else value.to(first.device)
        for value in example
    )
    return moved, Signature(
        len(example),
        tuple(value.dim() for value in example),
        tuple(value.is_floating_point() for value in example),
        shapes=tuple(tuple(value.shape[1:]) for value in example),
    )


def blank_inputs(network: nn.Module, signature: Signature) -> tuple[Tensor, ...]:
    """Return inputs with the example's shapes, one row of zeros each; raises InputError without a valid example."""
    if not signature.shapes:
        raise InputError("expected a network with an example_input, because its inputs are not images: pass one")
    first = next(network.parameters(), torch.zeros(()))
    return tuple(
        torch.zeros(1, *shape, dtype=first.dtype if floating else torch.int64, device=first.device)
        for shape, floating in zip(signature.shapes, signature.floating, strict=True)
    )


def check_inputs(inputs: Any, signature: Signature) -> tuple[Tensor, ...]:
    """Return the network's inputs as a tuple; raises InputError for invalid ones."""
    values: tuple[Any, ...] = inputs if isinstance(inputs, tuple) else (inputs,)
    if torch.compiler.is_compiling():
        return values
    if not all(isinstance(value, Tensor) for value in values):
        hint = ": stack them with torch.stack" if isinstance(inputs, list) else ""
        wrong = next(value for value in values if not isinstance(value, Tensor))
        raise InputError(f"expected {signature.expected}, got {type(wrong).__name__}{hint}")
    if len(values) != signature.count:
        raise InputError(f"expected {signature.expected}, got {len(values)}")
    for value, dims, floating in zip(values, signature.dims, signature.floating, strict=False):
        if value.dim() != dims:
            batch = ": a single one needs the batch axis, x[None]" if value.dim() == dims - 1 else ""
            expected = signature.expected if signature.images else f"an input with {dims} axes, the batch first"
            raise InputError(f"expected {expected}, got the shape {tuple(value.shape)}{batch}")
        if value.is_floating_point() != floating:
            kind = "floating-point numbers" if floating else "integers, such as indices of tokens"
            hint = ": x.float(), scaled and normalised as in training" if floating else ""
            raise InputError(f"expected {kind}, got {value.dtype}{hint}")
    if signature.images and values[0].shape[1] != 3:
        raise InputError(
            f"expected {signature.expected}, got the shape {tuple(values[0].shape)}: for another number of channels pass an "
            "example_input when the network is masked"
        )
    if any(value.shape[:1] != values[0].shape[:1] for value in values):
        raise InputError(f"expected inputs of one length, got {_shapes(values)}")
    return values


def check_features(features: Any) -> None:
    """Raise InputError unless ``features`` is one tensor."""
    if not torch.compiler.is_compiling() and not isinstance(features, Tensor):
        raise InputError(f"expected the features of F as a tensor (N, ...), got {type(features).__name__}")


def check_domains(domains: Any, features: Tensor, sources: int) -> Tensor:
    """Return domains as 64-bit integers, (N,); raises InputError if they are invalid for ``features``.

    - ``sources``: D; on a CPU every index must be in [0, D)
    """
    if torch.compiler.is_compiling():
        return domains  # type: ignore[no-any-return]
    wanted = f"expected domains as a tensor of {features.shape[0]} integers in [0, {sources})"
    if not isinstance(domains, Tensor):
        hint = ": torch.tensor(domains)" if isinstance(domains, list | tuple) else ""
        hint = ": torch.full((N,), domain)" if isinstance(domains, int) else hint
        raise InputError(f"{wanted}, got {type(domains).__name__}{hint}")
    if domains.dtype == torch.bool or domains.is_floating_point() or domains.is_complex():
        raise InputError(f"{wanted}, got {domains.dtype}")
    if domains.shape != features.shape[:1]:
        raise InputError(f"{wanted}, one for each instance, got the shape {tuple(domains.shape)}")
    if domains.device != features.device:
        raise InputError(f"{wanted} on {features.device}, where the instances are, got it on {domains.device}")
    if domains.device.type == "cpu" and not _is_traced(domains) and domains.numel():
        low, high = (int(value) for value in torch.aminmax(domains))
        if low < 0 or high >= sources:
            raise InputError(f"{wanted}, got {low if low < 0 else high}: an unknown domain is None for the whole batch")
    return domains.long()


def _is_traced(values: Tensor) -> bool:
    """Whether a trace or ``torch.func.vmap`` runs the code, in which values cannot be read."""
    wrapped = torch._C._functorch
    while not (batched := wrapped.is_batchedtensor(values)) and wrapped.is_functorch_wrapped_tensor(values):
        values = wrapped.get_unwrapped(values)  # as of torch.func.grad within vmap
    return batched or bool(torch._C._get_tracing_state())


def check_sets(masks: Any, sizes: Mapping[str, int]) -> int:
    """Return P, the number of sets of masks; raises InputError unless every site has masks (P, K)."""
    if torch.compiler.is_compiling():
        return int(next(iter(masks.values())).shape[0])
    wanted = f"expected masks (P, K) for each of {', '.join(f'{site} (K = {size})' for site, size in sizes.items())}"
    if not isinstance(masks, Mapping):
        raise InputError(f"{wanted}, got {type(masks).__name__}")
    if missing := [site for site in sizes if site not in masks]:
        raise InputError(f"{wanted}, got none for {', '.join(missing)}")
    sets = None
    for site, size in sizes.items():
        mask = masks[site]
        if not isinstance(mask, Tensor):
            raise InputError(f"{wanted}, got {type(mask).__name__} for {site}")
        sets = mask.shape[0] if sets is None and mask.dim() == 2 else sets
        if mask.shape != (sets, size):
            raise InputError(f"{wanted}, and as many sets at every site, got {tuple(mask.shape)} for {site}")
    return int(sets or 0)


def check_noise(noise: Any, sizes: Mapping[str, int], count: int) -> None:
    """Raise InputError unless ``noise`` is None or has a tensor (N, K) for every site."""
    if noise is None or torch.compiler.is_compiling():
        return
    wanted = (
        f"expected noise ({count}, K) for each of {', '.join(f'{site} (K = {size})' for site, size in sizes.items())}"
    )
    if not isinstance(noise, Mapping):
        raise InputError(f"{wanted}, got {type(noise).__name__}")
    for site, size in sizes.items():
        value = noise.get(site)
        if not isinstance(value, Tensor) or value.shape != (count, size):
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__ if site in noise else "none"
            raise InputError(f"{wanted}, got {got} for {site}")


def _shapes(values: Sequence[Tensor]) -> str:
    return ", ".join(str(tuple(value.shape)) for value in values)
