"""A thread-safe torch.fx tracer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from domain_masks.torch_globals import EXCLUSIVE


class ThreadTracer(fx.Tracer):
    """A ``torch.fx.Tracer`` that runs in one thread at a time, because tracing patches ``nn.Module`` in the whole process.

    Networks that other threads run during tracing are not affected.
    """

    _thread: int | None = None

    def trace(self, root: nn.Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """Return the graph of ``root``; see :meth:`torch.fx.Tracer.trace`."""
        with EXCLUSIVE:
            self._thread = threading.get_ident()
            return super().trace(root, concrete_args)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Record the call of a module with :meth:`called`, unless another thread calls it."""
        return self.called(m, forward, args, kwargs) if self._is_mine else forward(*args, **kwargs)

    def called(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the call of a module in the graph; subclasses override it instead of ``call_module``."""
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """Record the use of a parameter, unless another thread uses it."""
        return super().getattr(attr, attr_val, parameter_proxy_cache) if self._is_mine else attr_val

    @property
    def _is_mine(self) -> bool:
        return threading.get_ident() == self._thread
