"""The prediction for one image: its classes, the vote of each source's mask, the nearest source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError
from domain_masks.evaluation.by_mask import nearest_source
from domain_masks.evaluation.ensembles import log_softmax
from domain_masks.methods.base import known

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
    - ``nearest_source``: the source domain that the image is nearest to, see
      :func:`~domain_masks.evaluation.nearest_source`, and ``nearest_weight``, its weight in [0, 1]: the domain classifier's
      probability, else by :func:`source_weights`; None without masks or heads, and for one source
    - ``nearest_accuracy``: how often the nearest source of the sources' own images is right, in [0, 1]; None where the model
      does not say
    """

    name: str | None
    top: tuple[Guess, ...]
    votes: Mapping[str, Guess] = field(default_factory=dict)
    nearest_source: str | None = None
    nearest_weight: float | None = None
    nearest_accuracy: float | None = None

    @property
    def class_name(self) -> str:
        """The most probable class."""
        return self.top[0].class_name

    @property
    def probability(self) -> float:
        """The probability of the most probable class, in [0, 1]."""
        return self.top[0].probability

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; what the method does not have is absent."""
        content: dict[str, Any] = {"path": self.name, **self.top[0].to_dict()}
        content["top"] = [guess.to_dict() for guess in self.top]
        if self.votes:
            content["votes"] = {source: guess.to_dict() for source, guess in self.votes.items()}
        if self.nearest_source is not None and self.nearest_weight is not None:
            content["nearest_source"] = {"domain": self.nearest_source, "weight": round(self.nearest_weight, _DIGITS)}
            if self.nearest_accuracy is not None:
                content["nearest_source"]["accuracy"] = round(self.nearest_accuracy, _DIGITS)
        return content


def source_weights(probabilities: Mapping[str, NDArray[np.float64]], sources: Sequence[str]) -> NDArray[np.float64]:
    """Return how much each image is like each source domain by the masks alone, (N, D), every row adding up to 1.

    A source's weight is the confidence of its own mask or head, its largest class probability, as a share of the sum over
    all sources: with D sources that are all sure, every weight is about 1/D. For models without a domain classifier, whose
    probabilities are right more often (docs/analysis.md).

    - ``probabilities``: ensemble -> (N, C), with ``known:SOURCE`` for every source
    """
    confidences = np.stack([probabilities[known(source)].max(axis=1) for source in sources], axis=1)
    weights: NDArray[np.float64] = confidences / confidences.sum(axis=1, keepdims=True)
    return weights


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What a model gives for N images under all its ensembles, without the images.

    - ``names``: N paths; None for an image without one
    - ``logits``: ensemble -> (N, C)
    - ``domain_probabilities``: (N, D), how likely the domain classifier finds each source; None without one
    """

    names: Sequence[str | None]
    logits: Mapping[str, NDArray[np.float32]]
    domain_probabilities: NDArray[np.float32] | None = None


def predictions_from(
    output: ModelOutput,
    ensemble: str,
    top: int,
    classes: Sequence[str],
    sources: Sequence[str],
    nearest_accuracy: float | None = None,
) -> Iterator[Prediction]:
    """Yield the prediction of each of N images.

    - ``top``: how many classes, at most C
    - ``nearest_accuracy``: how often the nearest source is right, where that is known. The nearest source is that of
      :func:`~domain_masks.evaluation.nearest_source`, its weight the domain classifier's probability, else by
      :func:`source_weights`

    Raises InputError where the model gives NaN or infinity.
    """
    domains = output.domain_probabilities
    for known_as, logits in output.logits.items():
        _refuse_infinite(known_as, logits, output.names)
    probabilities = {known_as: np.exp(log_softmax(logits)) for known_as, logits in output.logits.items()}

    def ranked(ensemble: str, count: int) -> list[tuple[Guess, ...]]:
        values = probabilities[ensemble]
        # The first one needs no sorting; of equal ones both take the first.
        order = values.argmax(1)[:, None] if count == 1 else np.argsort(-values, axis=1, kind="stable")[:, :count]
        return [
            tuple(Guess(classes[index], float(values[row, index])) for index in own) for row, own in enumerate(order)
        ]

    has_votes = bool(sources) and all(known(source) in probabilities for source in sources)
    votes = {source: ranked(known(source), 1) for source in sources} if has_votes else {}
    nearest = weights = None
    if has_votes and len(sources) > 1:
        nearest = nearest_source(np.stack([output.logits[known(source)] for source in sources]), domains)
        weights = source_weights(probabilities, sources) if domains is None else domains.astype(np.float64)
    for row, (name, guesses) in enumerate(zip(output.names, ranked(ensemble, top), strict=True)):
        one = Prediction(name, guesses, {source: own[row][0] for source, own in votes.items()})
        if nearest is not None and weights is not None:
            own_source = int(nearest[row])
            one = replace(
                one,
                nearest_source=sources[own_source],
                nearest_weight=float(weights[row, own_source]),
                nearest_accuracy=nearest_accuracy,
            )
        yield one


def _refuse_infinite(ensemble: str, logits: NDArray[Any], names: Sequence[str | None]) -> None:
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        name = names[int(np.argmin(finite))]
        raise InputError(
            f"the model gives NaN or infinity for {name or 'an image'!r} ({ensemble}): its weights are too large for what "
            "they are multiplied with; train it again, with a smaller learning rate"
        )
