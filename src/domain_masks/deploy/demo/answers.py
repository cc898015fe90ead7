"""The content of the page for one image under one ensemble, computed from the model's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from domain_masks.data.decoding import problem_of
from domain_masks.data.image_files import UNREADABLE
from domain_masks.data.image_modes import to_rgb
from domain_masks.deploy.predicting.image_inputs import ImageInput, name_of, open_input
from domain_masks.deploy.predicting.prediction import ModelOutput, Prediction
from domain_masks.errors import InputError
from domain_masks.methods.base import known

if TYPE_CHECKING:
    from domain_masks.deploy.predicting.model import Model

TOP = 5
_SIDE = 640


@dataclass(frozen=True, slots=True)
class Answer:
    """The prediction for one image, and the class probabilities under each mask.

    - ``prediction``: under the chosen ensemble: the 5 most probable classes, the votes, the nearest source
    - ``by_class``: class -> source -> its probability under that source's mask or head, in [0, 1], for the most probable
      classes and every class with a vote; the inner mapping is empty without masks or heads
    - ``label``: the true class, or None if unknown
    """

    prediction: Prediction
    by_class: Mapping[str, Mapping[str, float]]
    label: str | None = None

    @property
    def tally(self) -> list[tuple[str, list[str]]]:
        """(class, the sources whose mask votes for it) pairs, the class with most votes first."""
        voters: dict[str, list[str]] = {}
        for source, vote in self.prediction.votes.items():
            voters.setdefault(vote.class_name, []).append(source)
        return sorted(voters.items(), key=lambda item: -len(item[1]))

    @property
    def span(self) -> tuple[float, float] | None:
        """The lowest and the highest probability of the predicted class under the masks; None without masks or heads."""
        values = self.by_class[self.prediction.class_name].values()
        return (min(values), max(values)) if values else None


def answer(model: Model, output: ModelOutput, ensemble: str, label: str | None = None) -> Answer:
    """Return the content for the model's output of one image; raises InputError if the logits are not finite."""
    (prediction,) = model.predictions(output, ensemble, TOP)
    by_source = {}
    for source in prediction.votes:
        (under_mask,) = model.predictions(output, known(source), len(model.classes))
        by_source[source] = {guess.class_name: guess.probability for guess in under_mask.top}
    compared = dict.fromkeys(guess.class_name for guess in (*prediction.top, *prediction.votes.values()))
    return Answer(
        prediction, {name: {source: values[name] for source, values in by_source.items()} for name in compared}, label
    )


def image_of(
    open_it: Callable[[], ImageInput], name: str, value_range: tuple[float, float] | None = None
) -> Image.Image:
    """Return an upright RGB image, at most 640 pixels wide and high.

    - ``open_it``: returns the image
    - ``name``: used in the error message
    - ``value_range``: black and white of images deeper than 8 bits, as for the model; see :func:`to_rgb`

    Raises InputError for files that are not images.
    """
    path: str | None = None
    try:
        source = open_it()
        path = name_of(source)
        with open_input(source) as image:
            rgb = to_rgb(image, value_range)
    except UNREADABLE as error:
        reason = problem_of(error, None if path is None else Path(path)).reason
        raise InputError(
            f"{name!r} cannot be read as an image: {reason}; expected a JPEG, a PNG or another image file"
        ) from error
    rgb.thumbnail((_SIDE, _SIDE))
    return rgb
