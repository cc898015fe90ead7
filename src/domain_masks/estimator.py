"""DMG as a scikit-learn classifier: for arrays that fit into memory, such as tables, embeddings and small images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.devices import choose_device
from domain_masks.errors import InputError
from domain_masks.networks import MaskedNetwork, masked
from domain_masks.randomness import seeded

_COUNTS = ("epochs", "batch")
_POSITIVE = ("lr", "lr_masks")
_ROWS_AT_ONCE = 4096


class DomainMaskClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that learns a mask of hidden units for every domain that it is trained on.

    It has the interface of scikit-learn, and works in its pipelines and searches; scale the features before, as for its
    ``MLPClassifier``. For images in files, with validation, checkpoints and reports, use :func:`domain_masks.train`.

    - ``network``: a class or function of the number of classes, which returns a module from inputs (N, ...) to logits (N, C);
      None for a perceptron with the layers of ``hidden``, for inputs (N, F)
    - ``sites``: names of its modules whose inputs are masked, or a preset; with the perceptron all but the first layer
    - ``hidden``: units of each hidden layer of the perceptron
    - ``overlap_weight``: of the overlap loss between the masks of every pair of domains
    - ``epochs``, ``batch``, ``lr``, ``lr_masks``, ``weight_decay``: of Adam; ``lr_masks`` is that of the mask logits. A last
      batch of one row is left out, which batch norm could not use
    - ``device``: ``auto``, ``cpu`` or ``cuda``
    - ``random_state``: seed of everything that is drawn

    After ``fit``: ``classes_``, ``domains_`` (in the order of the masks), ``network_``, ``loss_curve_`` (mean of each epoch).
    """

    def __init__(  # noqa: PLR0913
        self,
        network: Callable[[int], nn.Module] | None = None,
        *,
        sites: Sequence[str] | str = (),
        hidden: Sequence[int] = (64, 32),
        overlap_weight: float = 0.1,
        epochs: int = 50,
        batch: int = 64,
        lr: float = 1e-3,
        lr_masks: float = 0.03,
        weight_decay: float = 0.0,
        device: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.network = network
        self.sites = sites
        self.hidden = hidden
        self.overlap_weight = overlap_weight
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.lr_masks = lr_masks
        self.weight_decay = weight_decay
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike, domains: ArrayLike | None = None) -> DomainMaskClassifier:  # noqa: N803
        """Fit network and masks.

        - ``X``: (N, F), or (N, ...) with ``network``; finite numbers
        - ``y``: (N,) classes; ``domains``: (N,) the source domain of each row, of any type; None warns, and is one domain

        Raises InputError for parameters out of range and for a network that cannot be masked, ValueError for arrays as
        scikit-learn does.
        """
        self._check_parameters()
        values, y = validate_data(self, X, y, dtype=np.float32, allow_nd=self.network is not None, ensure_min_samples=1)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        self.domains_, rows = np.unique(self._domains(domains, len(values)), return_inverse=True)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        device = choose_device(self.device)
        with seeded(seed, "estimator", device=device), torch.enable_grad():
            self.network_ = self._network(values[:1]).to(device)
            data = [torch.as_tensor(part, device=device) for part in (values, labels, rows)]
            self.loss_curve_ = self._train(self.network_, data)
        self.network_.eval()
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Return the probability of each class, (N, C): of the average over the logits of all masks."""
        probabilities: NDArray[np.float64] = self._logits(X).mean(0).double().softmax(-1).cpu().numpy()
        return probabilities

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the most probable class of each row, (N,)."""
        probabilities = self.predict_proba(X)
        predicted: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return predicted

    def predict_by_domain(self, X: ArrayLike) -> dict[Any, NDArray[Any]]:  # noqa: N803
        """Return domain -> the class of each row under its mask alone, (N,)."""
        best = self._logits(X).argmax(-1).cpu().numpy()
        return dict(zip(self.domains_.tolist(), self.classes_[best], strict=True))

    def _logits(self, X: ArrayLike) -> Tensor:  # noqa: N803
        check_is_fitted(self)
        values = validate_data(self, X, dtype=np.float32, allow_nd=self.network is not None, reset=False)
        device = next(self.network_.parameters()).device
        with torch.inference_mode():
            parts = torch.split(torch.as_tensor(values, device=device), _ROWS_AT_ONCE)
            return torch.cat([self.network_.domain_logits(part) for part in parts], 1)

    def _network(self, example: NDArray[np.float32]) -> MaskedNetwork:
        classes = len(self.classes_)
        if self.network is not None:
            network, sites = self.network(classes), self.sites
        else:
            sizes = [example.shape[1], *self.hidden]
            hidden = [nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in pairwise(sizes)]
            network = nn.Sequential(*hidden, nn.Linear(sizes[-1], classes))
            sites = self.sites or [str(place) for place in range(1, len(sizes))]
        return masked(network, len(self.domains_), sites=sites, example_input=torch.zeros(example.shape))

    def _train(self, network: MaskedNetwork, data: Sequence[Tensor]) -> list[float]:
        inputs, labels, domains = data
        masks = list(network.masks.parameters())
        others = [each for each in network.parameters() if all(each is not mask for mask in masks)]
        groups = [{"params": others, "weight_decay": self.weight_decay}, {"params": masks, "lr": self.lr_masks}]
        optimizer = torch.optim.Adam(groups, lr=self.lr)
        curve = []
        for _ in range(self.epochs):
            network.train()
            total = 0.0
            order = torch.randperm(len(labels), device="cpu").to(inputs.device)
            if len(order) > self.batch > 1 and len(order) % self.batch == 1:
                # Batch norm needs more than one row; another one is left out in the next epoch.
                order = order[:-1]
            for rows in torch.split(order, self.batch):
                logits = network(inputs[rows], domains[rows])
                loss = functional.cross_entropy(logits, labels[rows])
                if self.overlap_weight and len(self.domains_) > 1:
                    loss = loss + self.overlap_weight * network.overlap_loss()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                total += float(loss.detach()) * len(rows)
            curve.append(total / len(order))
        return curve

    def _domains(self, domains: ArrayLike | None, count: int) -> NDArray[Any]:
        if domains is None:
            warnings.warn("no domains given: one mask is learned for all rows. Give fit(X, y, domains)", stacklevel=3)
            return np.zeros(count, dtype=np.int64)
        named: NDArray[Any] = column_or_1d(np.asarray(domains))
        if len(named) != count:
            raise ValueError(f"expected the domain of each of {count} rows, got {len(named)}")
        return named

    def _check_parameters(self) -> None:
        mistakes = [
            f"{name}: expected a whole number from 1, got {getattr(self, name)!r}"
            for name in _COUNTS
            if isinstance(getattr(self, name), bool)
            or not hasattr(getattr(self, name), "__index__")
            or getattr(self, name) < 1
        ]
        mistakes += [
            f"{name}: expected a number above 0, got {getattr(self, name)!r}"
            for name in _POSITIVE
            if not _is_number(getattr(self, name)) or getattr(self, name) <= 0
        ]
        mistakes += [
            f"{name}: expected a number from 0, got {getattr(self, name)!r}"
            for name in ("overlap_weight", "weight_decay")
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0
        ]
        if self.network is None and (not len(self.hidden) or any(int(units) < 1 for units in self.hidden)):
            mistakes.append(f"hidden: expected the units of one or more layers, as in (64, 32), got {self.hidden!r}")
        if mistakes:
            raise InputError("; ".join(mistakes))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))
