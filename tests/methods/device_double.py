"""A stand-in for a GPU, on which no operation may make the host wait.

Tensors on ``meta`` have shapes and no values. What needs a value on the host, or a number of rows that depends on values,
cannot be computed there: exactly what would synchronise with a GPU. As on a GPU, tensors of the host have to be moved before
they can be computed with.
"""

from contextlib import ExitStack, contextmanager, nullcontext
from unittest import mock

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from domain_masks import randomness
from domain_masks.training import engine
from domain_masks.training.divergence import DivergenceWatch

DEVICE = torch.device("meta")


class SynchronisedError(AssertionError):
    """An operation would have synchronised with the device."""


def is_there(value):
    return isinstance(value, Tensor) and value.device == DEVICE


class _Copies(TorchDispatchMode):
    """Refuses copies from the device, copies to it that are not asynchronous, and indexing that has to count rows."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = kwargs or {}
        name = func._schema.name
        if name == "aten::_to_copy" and is_there(args[0]) != (given.get("device", args[0].device) == DEVICE):
            to_device = not is_there(args[0])
            if not (to_device and given.get("non_blocking")):
                raise SynchronisedError(
                    f"a synchronous copy {'to' if to_device else 'from'} the device: {tuple(args[0].shape)}"
                )
        if name == "aten::copy_" and is_there(args[0]) != is_there(args[1]):
            raise SynchronisedError(f"a synchronous copy between host and device: {tuple(args[0].shape)}")
        if name in ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"):
            self._check_indices(name, args)
        return func(*args, **given)

    @staticmethod
    def _check_indices(name, args):
        indices = [index for index in args[1] if isinstance(index, Tensor)]
        if is_there(args[0]) and not all(map(is_there, indices)):
            raise SynchronisedError(f"{name} by an index on the host")
        one_value = name != "aten::index" and args[2].numel() == 1
        if not one_value and any(index.dtype == torch.bool for index in indices if is_there(index)):
            raise SynchronisedError(f"{name} by a boolean mask")


class _NewTensors(TorchFunctionMode):
    """Refuses tensors that are made on the device from values of the host, which is a synchronous copy."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        made = func in (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
        if made and is_there(result) and not is_there(args[-1]):
            raise SynchronisedError(f"a tensor made on the device from values of the host: {tuple(result.shape)}")
        return result


@contextmanager
def on_device_double():
    """Refuse whatever would synchronise with the device; random numbers have no values there, autocast is off."""
    generator, autocast = randomness.generator, torch.autocast

    def drawn_by(seed, stream, step=0, device="cpu"):
        return generator(seed, stream, step)

    def without_device(device_type, **options):
        return nullcontext() if device_type == DEVICE.type else autocast(device_type, **options)

    def plain(groups, kind, config, scales):
        parameters = [parameter for group in groups.values() for parameter in group]
        made = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, foreach=True)
        for group in made.param_groups:
            group |= {"name": next(iter(groups)), "base_lr": 0.05}
        return made

    patches = (
        mock.patch.object(randomness, "generator", drawn_by),
        mock.patch.object(torch, "autocast", without_device),
        # Fused optimisers know no such device, and Fabric takes it for one whose parameters are to come.
        mock.patch.object(engine, "build_optimizer", plain),
        mock.patch.object(Fabric, "setup_optimizers", lambda self, one: one),
        # At the end of an epoch the host does wait.
        mock.patch.object(DivergenceWatch, "read", lambda self: self._noted.clear()),
    )
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(_NewTensors())
        stack.enter_context(_Copies())
        yield
