"""What a model says about one image, asked once, and what the page shows of it under each ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from domain_masks.data.decoding import problem_of
from domain_masks.data.image_files import UNREADABLE
from domain_masks.data.preprocessing import to_rgb
from domain_masks.deploy.predicting.image_inputs import ImageInput, name_of, open_input
from domain_masks.deploy.predicting.prediction import Guess, Prediction, predictions_from
from domain_masks.errors import InputError
from domain_masks.evaluation.ensembles import log_softmax
from domain_masks.methods.base import known

if TYPE_CHECKING:
    from domain_masks.deploy.predicting.model import Model

TOP = 5
_SIDE = 640


@dataclass(frozen=True, slots=True)
class Answer:
    """The logits of one image, without the image.

    - ``name``: what to call the image
    - ``logits``: ensemble -> (C,)
    - ``label``: its true class, where that is known
    - ``domains``: (D,) how likely the model's domain classifier finds each source; None where it has none
    """

    name: str
    logits: Mapping[str, NDArray[np.float32]]
    label: str | None = None
    domains: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows of an :class:`Answer` under one ensemble.

    - ``ensemble``: its name
    - ``prediction``: the most probable classes, the votes, the nearest source
    - ``classes``: the R classes that are compared between the masks: the most probable ones, and every one with a vote
    - ``by_source``: source -> (R,) probabilities of these classes under its mask or head; empty for a method without
    - ``label``: the true class, where it is known
    - ``is_classified``: whether the nearest source is a domain classifier's, and ``about_nearest``: how far that can be trusted
    """

    name: str
    ensemble: str
    prediction: Prediction
    classes: tuple[str, ...]
    by_source: Mapping[str, tuple[float, ...]]
    label: str | None = None
    is_classified: bool = False
    about_nearest: str = ""

    @property
    def tally(self) -> list[tuple[str, list[str]]]:
        """Class -> the sources whose mask votes for it, the class with most votes first."""
        found: dict[str, list[str]] = {}
        for source, guess in self.prediction.votes.items():
            found.setdefault(guess.class_name, []).append(source)
        return sorted(found.items(), key=lambda item: -len(item[1]))

    @property
    def span(self) -> tuple[float, float] | None:
        """The lowest and the highest probability of the predicted class under the masks; None without masks or heads."""
        row = [values[0] for values in self.by_source.values()]
        return (min(row), max(row)) if row else None


def image_of(
    open_it: Callable[[], ImageInput], name: str, value_range: tuple[float, float] | None = None
) -> Image.Image:
    """Return an image in RGB as it is seen, upright, at most 640 pixels wide and high.

    - ``open_it``: gives it
    - ``name``: what the message calls it
    - ``value_range``: black and white of images deeper than 8 bits, as the model sees them; see :func:`to_rgb`

    Raises InputError for what is no image.
    """
    path: str | None = None
    try:
        shown_input = open_it()
        path = name_of(shown_input)
        with open_input(shown_input) as image:
            rgb = to_rgb(image, value_range)
    except UNREADABLE as error:
        reason = problem_of(error, None if path is None else Path(path)).reason
        raise InputError(
            f"{name!r} cannot be read as an image: {reason}; expected a JPEG, a PNG or another image file"
        ) from error
    rgb.thumbnail((_SIDE, _SIDE))
    return rgb


def answer(model: Model, image: ImageInput, name: str, label: str | None = None) -> Answer:
    """Ask a model about one image, under all its ensembles at once.

    Raises InputError for what is no image.
    """
    logits = model.logits(image)
    domains = model.domain_probabilities(image)
    plain = {ensemble: values[0].numpy() for ensemble, values in logits.items()}
    return Answer(name, plain, label, None if domains is None else domains[0])


def shown(asked: Answer, ensemble: str, classes: Sequence[str], sources: Sequence[str]) -> Shown:
    """Return what is shown of an answer under ``ensemble``.

    Raises InputError where the model gives NaN or infinity.
    """
    logits = {name: values[np.newaxis] for name, values in asked.logits.items()}
    domains = None if asked.domains is None else asked.domains[np.newaxis]
    (prediction,) = predictions_from(logits, ensemble, min(TOP, len(classes)), [asked.name], classes, sources, domains)
    votes = [guess.class_name for guess in prediction.votes.values()]
    compared = tuple(dict.fromkeys([*(guess.class_name for guess in prediction.top), *votes]))
    rows = [list(classes).index(name) for name in compared]
    by_source = {
        source: tuple(np.exp(log_softmax(asked.logits[known(source)]))[rows].tolist()) for source in prediction.votes
    }
    return Shown(asked.name, ensemble, prediction, compared, by_source, asked.label, domains is not None)


__all__ = ["TOP", "Answer", "Guess", "Shown", "answer", "image_of", "shown"]
