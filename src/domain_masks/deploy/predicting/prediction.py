"""The prediction for one image: classes, the vote of each source's mask, the nearest source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError
from domain_masks.evaluation.by_mask import nearest_source
from domain_masks.evaluation.calibration import calibrated_logits
from domain_masks.evaluation.ensembles import log_softmax
from domain_masks.methods.base import known
from domain_masks.records.measured_metrics import FittedTemperature

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Guess:
    """A class and its probability, in [0, 1]."""

    class_name: str
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"class": self.class_name, "probability": round(self.probability, _DIGITS)}


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's prediction for one image.

    - ``name``: the path of the image; None where it has none
    - ``top``: the most probable classes under the chosen ensemble, best first, at least one
    - ``votes``: source domain -> the most probable class under its mask or head alone; empty for a method without these
    - ``nearest_source``: see :func:`~domain_masks.evaluation.nearest_source`; None without masks or heads, and with one source
    - ``nearest_weight``: its weight in [0, 1]: the domain classifier's probability, or without one :func:`source_weights`
    - ``nearest_accuracy``: accuracy of the nearest source on the sources' own images, in [0, 1]; None if not measured
    - ``test_time``: the option with which it was predicted, such as "tent"; None for an ordinary prediction
    """

    name: str | None
    top: tuple[Guess, ...]
    votes: Mapping[str, Guess] = field(default_factory=dict)
    nearest_source: str | None = None
    nearest_weight: float | None = None
    nearest_accuracy: float | None = None
    test_time: str | None = None

    @property
    def class_name(self) -> str:
        """The most probable class."""
        return self.top[0].class_name

    @property
    def probability(self) -> float:
        """The probability of the most probable class, in [0, 1]."""
        return self.top[0].probability

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the fields that the method does not have."""
        content: dict[str, Any] = {"path": self.name, **self.top[0].to_dict()}
        content["top"] = [guess.to_dict() for guess in self.top]
        if self.votes:
            content["votes"] = {source: guess.to_dict() for source, guess in self.votes.items()}
        if self.nearest_source is not None and self.nearest_weight is not None:
            content["nearest_source"] = {"domain": self.nearest_source, "weight": round(self.nearest_weight, _DIGITS)}
            if self.nearest_accuracy is not None:
                content["nearest_source"]["accuracy"] = round(self.nearest_accuracy, _DIGITS)
        if self.test_time is not None:
            content["test_time"] = self.test_time
        return content


def source_weights(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the weight of each source domain from the confidence of its mask or head, (N, D); rows sum to 1.

    The confidence is the largest class probability, divided by the sum over all sources: if all D masks are confident, every
    weight is about 1/D. Used without a domain classifier, which would be more accurate (docs/analysis.md).

    - ``logits``: (D, N, C), of each source's own mask or head, without a temperature
    """
    confidences = np.exp(log_softmax(logits)).max(axis=2).T
    weights: NDArray[np.float64] = confidences / confidences.sum(axis=1, keepdims=True)
    return weights


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """A model's output for N images under all its ensembles, without the images.

    - ``names``: N paths; None for an image without one
    - ``logits``: ensemble -> (N, C)
    - ``domain_probabilities``: (N, D), the domain classifier's probability of each source; None without one
    - ``test_time``: the option with which it was computed, which its predictions name; None for an ordinary output
    """

    names: Sequence[str | None]
    logits: Mapping[str, NDArray[np.float32]]
    domain_probabilities: NDArray[np.float32] | None = None
    test_time: str | None = None


def predictions_from(
    output: ModelOutput,
    ensemble: str,
    top: int,
    classes: Sequence[str],
    sources: Sequence[str],
    nearest_accuracy: float | None = None,
    temperatures: Mapping[str, FittedTemperature] | None = None,
) -> Iterator[Prediction]:
    """Yield the prediction of each of N images.

    - ``top``: how many classes, at most C
    - ``nearest_accuracy``: copied into each :class:`Prediction`
    - ``temperatures``: of the ensembles of a calibrated model; they change class probabilities, and nothing else

    Raises InputError if the logits contain NaN or infinity.
    """
    domains = output.domain_probabilities
    for name, logits in output.logits.items():
        _refuse_infinite(name, logits, output.names)

    def ranked(ensemble: str, count: int) -> list[tuple[Guess, ...]]:
        logits = output.logits[ensemble]
        values = np.exp(log_softmax(calibrated_logits(logits, ensemble, temperatures)))
        # The best class alone needs no sorting; both ways break ties by the lower index.
        order = logits.argmax(1)[:, None] if count == 1 else np.argsort(-logits, axis=1, kind="stable")[:, :count]
        return [
            tuple(Guess(classes[index], float(values[row, index])) for index in best) for row, best in enumerate(order)
        ]

    has_votes = bool(sources) and all(known(source) in output.logits for source in sources)
    votes = {source: ranked(known(source), 1) for source in sources} if has_votes else {}
    nearest = weights = None
    if has_votes and len(sources) > 1:
        by_source = np.stack([output.logits[known(source)] for source in sources])
        nearest = nearest_source(by_source, domains)
        weights = source_weights(by_source) if domains is None else domains.astype(np.float64)
    for row, (path, guesses) in enumerate(zip(output.names, ranked(ensemble, top), strict=True)):
        by_mask = {source: guess[row][0] for source, guess in votes.items()}
        prediction = Prediction(path, guesses, by_mask, test_time=output.test_time)
        if nearest is not None and weights is not None:
            source_index = int(nearest[row])
            prediction = replace(
                prediction,
                nearest_source=sources[source_index],
                nearest_weight=float(weights[row, source_index]),
                nearest_accuracy=nearest_accuracy,
            )
        yield prediction


def _refuse_infinite(ensemble: str, logits: NDArray[Any], names: Sequence[str | None]) -> None:
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        name = names[int(np.argmin(finite))]
        raise InputError(
            f"the model's logits for {name or 'an image'!r} ({ensemble}) contain NaN or infinity: its weights have diverged; "
            "train it again with a smaller learning rate"
        )
