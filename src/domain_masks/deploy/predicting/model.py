"""A trained model that predicts images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domain_masks.data import Preprocessing
from domain_masks.deploy.hub.mixin import HubMixin
from domain_masks.deploy.hub.model_card import model_card
from domain_masks.deploy.predicting.computation import Computation, Computed, ensembles_of
from domain_masks.deploy.predicting.image_inputs import ImageInput, each_image
from domain_masks.deploy.predicting.image_paths import Unreadable
from domain_masks.deploy.predicting.image_stream import ReadBatch
from domain_masks.deploy.predicting.prediction import ModelOutput, Prediction, predictions_from
from domain_masks.deploy.predicting.prediction_list import PredictionList
from domain_masks.devices import choose_device
from domain_masks.errors import InputError
from domain_masks.evaluation.ensembles import require_ensemble
from domain_masks.keywords import named_keywords
from domain_masks.methods import Method
from domain_masks.methods.base import PREDICTIONS, WEIGHTED, known
from domain_masks.methods.saving import save_model
from domain_masks.records.counts import counted
from domain_masks.records.model_card import ModelCard
from domain_masks.records.notebook_html import html_block, html_table
from domain_masks.records.results import DOMAIN_CLASSIFIER, MEASURE_TITLES, MOST_CONFIDENT_MASK, accuracies_html
from domain_masks.records.test_time import BATCH_NORM, AtTestTime

Device = Literal["auto", "cpu", "cuda", "mps"]
BATCH = 64
TOP = 5
_CLASSES = 20


class Model(HubMixin):
    """A trained model in evaluation mode, with everything needed to predict.

    - ``method``: the method, on ``device``
    - ``card``: what ``model.json`` holds
    - ``device``: where to compute; ``auto`` is CUDA if available

    Raises InputError if the card has no preprocessing or one of another size, and for an unavailable device.
    """

    def __init__(self, method: Method, card: ModelCard, device: str = "auto") -> None:
        self.card = card
        self.classes: tuple[str, ...] = method.context.classes
        self.sources: tuple[str, ...] = method.context.sources
        self.targets: tuple[str, ...] = tuple(card.targets)
        self.backbone: str = card.backbone
        self.preprocessing = preprocessing_of(card)
        self.method = method.eval()
        self.to(device)

    def __repr__(self) -> str:
        return (
            f"Model({self.method.name} on {self.backbone}, {len(self.classes)} classes, sources: "
            f"{', '.join(self.sources)}; {self.preprocessing.size} pixels, {self.device})"
        )

    def _repr_html_(self) -> str:
        card = self.card
        shown = self.classes[:_CLASSES]
        more = f" and {len(self.classes) - len(shown)} more" if len(self.classes) > len(shown) else ""
        about = {
            "backbone": self.backbone,
            "classes": f"{len(self.classes)}: {', '.join(shown)}{more}",
            "source domains": ", ".join(self.sources),
            "held-out domains": ", ".join(self.targets) or "none",
            "masks": ", ".join(f"{site.name} ({site.size} units)" for site in card.sites) or "none",
            "input": f"{self.preprocessing.size} pixels",
            "dataset": card.dataset,
            "device": str(self.device),
        }
        measured = {MEASURE_TITLES[name]: part for name, part in (card.accuracies or {}).items()}
        return html_block(f"Model: {self.method.name}", html_table(["", ""], about.items()), accuracies_html(measured))

    def to(self, device: str) -> Model:
        """Move the model to ``auto``, ``cpu`` or ``cuda`` (``cuda:1``); raises InputError if it is unavailable."""
        self.device = choose_device(device)
        self._computation = Computation(self.method.to(self.device), self.preprocessing, self.device)
        return self

    @cached_property
    def ensembles(self) -> tuple[str, ...]:
        """The valid names for ``ensemble``, determined by predicting one empty image."""
        return ensembles_of(self.method)

    def check_ensemble(self, ensemble: str) -> None:
        """Raise InputError, which lists the available ensembles, unless the model has this one."""
        check_ensemble(self.method, ensemble, self.ensembles, self.targets)

    @named_keywords
    def predict(
        self,
        inputs: ImageInput | Iterable[ImageInput],
        *,
        ensemble: str = PREDICTIONS,
        top: int = TOP,
        batch: int = BATCH,
        test_time: AtTestTime | None = None,
    ) -> PredictionList:
        """Return the prediction for each image, in order: a list, which a notebook shows as a table.

        - ``inputs``: one image or any iterable of them: paths, PIL images, numpy arrays (H, W), (H, W, 3), (N, H, W, 3),
          tensors (3, H, W), (N, 3, H, W); uint8, or floats in [0, 1], not normalised. See :func:`each_image`
        - ``ensemble``: one of :attr:`ensembles`
        - ``top``: how many classes a prediction lists, capped at the number of classes
        - ``batch``: images per forward pass, at most 16 on a CPU; affects only speed and memory
        - ``test_time``: views of each image, or an adaptation to the ``inputs``, for which the order and ``test_time.batch``
          matter; the images should be of one domain. Probabilities are then not calibrated. See :class:`AtTestTime`

        Raises InputError for an unreadable image, and for an invalid ensemble or number.
        """
        return PredictionList(self.stream(inputs, ensemble=ensemble, top=top, batch=batch, test_time=test_time))

    @named_keywords
    def stream(
        self,
        inputs: ImageInput | Iterable[ImageInput | Unreadable],
        *,
        ensemble: str = PREDICTIONS,
        top: int = TOP,
        batch: int = BATCH,
        workers: int | None = 0,
        unreadable: Callable[[Unreadable], None] | None = None,
        test_time: AtTestTime | None = None,
    ) -> Iterator[Prediction]:
        """Yield the predictions of :meth:`predict` one by one, in constant memory for any number of ``inputs``.

        - ``workers``: threads that read and compute on a CPU, processes that read ahead for a GPU; None for one per core if
          there are at least 200 images, 0 for none
        - ``unreadable``: called with every unreadable image, which is then skipped; None raises InputError
        - ``test_time``: as in :meth:`predict`; "batch-norm" reads the inputs twice, and refuses an iterator
        """
        self.check_ensemble(ensemble)
        for name, value in (("top", top), ("batch", batch)):
            if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
                raise InputError(f"{name}: expected a whole number from 1, got {value!r}")
        outputs = self.outputs(inputs, int(batch), workers, unreadable, test_time)
        return (prediction for output in outputs for prediction in self.predictions(output, ensemble, int(top)))

    def predictions(self, output: ModelOutput, ensemble: str = PREDICTIONS, top: int = TOP) -> Iterator[Prediction]:
        """Yield the predictions from an output of :meth:`outputs`; raises InputError for NaN or infinity."""
        most = min(top, len(self.classes))
        if output.test_time is not None:
            # Temperatures and the accuracy of the nearest source were measured for ordinary predictions.
            return predictions_from(output, ensemble, most, self.classes, self.sources)
        temperatures = self.card.temperatures
        return predictions_from(output, ensemble, most, self.classes, self.sources, self.nearest_accuracy, temperatures)

    def logits(self, inputs: ImageInput | Iterable[ImageInput], *, batch: int = BATCH) -> dict[str, Tensor]:
        """Return ensemble -> logits (N, C), float32 on the CPU, for the inputs of :meth:`predict`.

        A calibrated model's probabilities are the softmax of these, divided by ``card.temperatures[ensemble].value``.

        Raises InputError for an unreadable image.
        """
        parts = [output.logits for output in self.outputs(inputs, batch)]
        empty = np.empty((0, len(self.classes)), dtype=np.float32)
        return {
            name: torch.from_numpy(np.concatenate([empty, *(part[name] for part in parts)])) for name in self.ensembles
        }

    def domain_probabilities(
        self, inputs: ImageInput | Iterable[ImageInput], *, batch: int = BATCH
    ) -> NDArray[np.float32] | None:
        """Return the domain classifier's probability of each source, (N, D); None if the model has no classifier.

        Raises InputError for an unreadable image.
        """
        if self.method.domain_classifier is None:
            return None
        parts = [output.domain_probabilities for output in self.outputs(inputs, batch)]
        empty = np.empty((0, len(self.sources)), dtype=np.float32)
        return np.concatenate([empty, *(part for part in parts if part is not None)])

    def outputs(
        self,
        inputs: ImageInput | Iterable[ImageInput | Unreadable],
        batch: int = BATCH,
        workers: int | None = 0,
        unreadable: Callable[[Unreadable], None] | None = None,
        test_time: AtTestTime | None = None,
    ) -> Iterator[ModelOutput]:
        """Yield the output of each batch under all ensembles; the arguments are those of :meth:`stream`."""
        if test_time is None:
            return self._outputs(self._computation.outputs(each_image(inputs), batch, workers), unreadable)
        if test_time.adapt == BATCH_NORM and isinstance(inputs, Iterator):
            raise InputError(
                "adapt 'batch-norm': the images are read twice, first for their statistics: expected a list of them, got an "
                "iterator"
            )
        computed = self._computation.at_test_time(test_time, partial(each_image, inputs), batch, workers)
        return self._outputs(computed, unreadable, test_time.name)

    def _outputs(
        self,
        computed: Iterator[tuple[ReadBatch, Computed]],
        unreadable: Callable[[Unreadable], None] | None,
        test_time: str | None = None,
    ) -> Iterator[ModelOutput]:
        for read, (logits, domains) in computed:
            for problem in read.problems:
                if unreadable is None:
                    raise InputError(f"{problem.name!r} cannot be read: {problem.reason}")
                unreadable(problem)
            if read.names:
                plain = {name: values.numpy() for name, values in logits.items()}
                yield ModelOutput(read.names, plain, None if domains is None else domains.numpy(), test_time)

    @property
    def has_votes(self) -> bool:
        """Whether every source has its own mask or head, whose vote is part of a prediction."""
        return all(known(source) in self.ensembles for source in self.sources)

    @property
    def names_nearest(self) -> bool:
        """Whether predictions have a nearest source: every source has a mask or head, and there are several sources."""
        return self.has_votes and len(self.sources) > 1

    @property
    def nearest_rule(self) -> str:
        """What determines the nearest source: the domain classifier, or without one the most confident mask."""
        return MOST_CONFIDENT_MASK if self.method.domain_classifier is None else DOMAIN_CLASSIFIER

    @property
    def nearest_accuracy(self) -> float | None:
        """Accuracy of the nearest source on the sources' own images, in [0, 1]; None if model.json does not have it."""
        measured = self.card.nearest_source
        return measured.accuracy if measured is not None and measured.by == self.nearest_rule else None

    def about_probabilities(self, ensemble: str) -> str:
        """Return a sentence on the calibration of an ensemble's probabilities."""
        if (fitted := self.card.temperatures.get(ensemble)) is None:
            return "probabilities: not calibrated (`dmg evaluate RUN --calibrate` fits a temperature)"
        images = f"{counted(fitted.images, 'source validation image')}, which also chose the epoch"
        return f"probabilities: calibrated with temperature {fitted.value:.3g}, fitted on {images}"

    def about_nearest(self, test_time: AtTestTime | None = None) -> str:
        """Return a sentence on how the nearest source is determined and how accurate it is, or why there is none.

        - ``test_time``: of the predictions; the accuracy is that of ordinary ones, and is not said for others
        """
        if not self.has_votes:
            return f"no nearest source: method {self.method.name!r} has no mask or head per source"
        if not self.names_nearest:
            return "no nearest source: there is only one source"
        if test_time is not None:
            return f"nearest source: by the {self.nearest_rule}; its accuracy was not measured with {test_time.name}"
        if self.nearest_accuracy is None:
            return f"nearest source: by the {self.nearest_rule}; its accuracy was not measured (`dmg evaluate RUN`)"
        split = self.card.nearest_source.split if self.card.nearest_source is not None else ""
        correct = f"{100 * self.nearest_accuracy:.1f} % of the sources' own {split} images"
        return f"nearest source: by the {self.nearest_rule}, which is correct on {correct}"

    def save(self, folder: Path | str) -> None:
        """Write ``model.safetensors`` and ``model.json`` into ``folder``, from which :func:`load` restores the model.

        Raises RunFolderError if they cannot be written.
        """
        save_model(Path(folder), self.method, self.backbone, self.card)

    def model_card(self, repo_id: str | None = None, figures: Mapping[str, str] | None = None) -> str:
        """Return the model card as Markdown: training data, accuracies, usage and limitations.

        - ``figures``: path in the repository -> title, of figures that it shows
        """
        return model_card(self.card, self.ensembles, repo_id, figures)


def check_ensemble(method: Method, ensemble: str, available: Sequence[str], held_out: Sequence[str] = ()) -> None:
    """Raise InputError, which lists the available ensembles, unless a method has this one.

    - ``available``: the method's ensembles, see :func:`ensembles_of`
    - ``held_out``: the held-out domains, if known
    """
    advice = f"`dmg evaluate RUN --ensemble {WEIGHTED}` fits one" if method.predicts_by_domain else None
    sources, described = method.context.sources, f"method {method.name!r}"
    require_ensemble(ensemble, available, sources, held_out, advice, described)


def preprocessing_of(card: ModelCard) -> Preprocessing:
    """Return a model's preprocessing; raises InputError if its card has none, or one of another image size."""
    values = card.preprocessing
    if values is None:
        raise InputError(
            "model.json has no preprocessing, which is needed to prepare images as in training: write the model again with "
            "`dmg evaluate RUN`"
        )
    try:
        preprocessing = Preprocessing.from_dict(values)
    except InputError as error:
        raise InputError(f"model.json, preprocessing: {error}") from error
    if preprocessing.size != card.image_size:
        raise InputError(
            f"model.json: expected preprocessing to the image size {card.image_size}, got {preprocessing.size}"
        )
    return preprocessing
