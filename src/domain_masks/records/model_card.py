"""The description of a saved model, ``model.json``; it is validated before a network is built from it."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from domain_masks.errors import RunFolderError
from domain_masks.records.files import is_utf8
from domain_masks.records.json_record import Count, JSONRecord, RecordPart
from domain_masks.records.measured_metrics import FittedTemperature
from domain_masks.records.results import (
    IMAGES,
    Accuracies,
    AveragedWeights,
    NearestAccuracy,
    SelectionProtocol,
    SiteMasks,
)

FORMAT = 1
MOST_CLASSES = 100_000
MOST_SOURCES = 1_000
MOST_SITES = 1_000
MOST_NEURONS = 1_000_000
MOST_PIXELS = 4_096
"""Also the largest image size of a run."""
MOST_BYTES = 64_000_000
"""The limit for the file, far more than the names of ``MOST_CLASSES`` need, and for the tensors of an extra state."""


def _different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(f"expected names that differ, {twice!r} comes twice")
    return names


Name = Annotated[str, Field(min_length=1, max_length=1_000)]
Names = Annotated[list[Name], AfterValidator(_different)]


class CardSite(RecordPart):
    """A mask site: the module's ``name``, its channel ``axis``, and ``size``, the number of channels."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    axis: Annotated[int, Field(ge=-8, le=8)]
    size: Annotated[int, Field(ge=1, le=MOST_NEURONS)]


class CardMethod(RecordPart):
    """A method by its ``name``, with its settings as further keys."""

    name: Name

    @property
    def settings(self) -> dict[str, Any]:
        """The method's settings, by name."""
        return dict(self.model_extra or {})


class StoredTensor(RecordPart):
    """Dtype, as safetensors names it, and shape of a tensor."""

    dtype: Name
    shape: list[Annotated[int, Field(ge=0, le=MOST_BYTES)]]


class ExtraState(RecordPart):
    """The extra state of a module: a plain ``value``, which may refer to ``tensors`` by name."""

    value: Any
    tensors: list[StoredTensor]


def _small_enough(extra: ExtraState) -> ExtraState:
    # For the smallest dtype; the header of the weights file has the real one.
    if sum(prod(tensor.shape) for tensor in extra.tensors) > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES:,} bytes of tensors")
    return extra


class CardTraining(RecordPart):
    """How the model was trained.

    - ``weights``: the initial weights: "imagenet", "none", or the name of a file
    - ``images``: the number of training images, called ``pictures`` in earlier versions; ``epochs_run``: of epochs; ``seed``
    - ``average``: the steps that the weights are an average over; absent without averaging
    """

    weights: Name | None = None
    images: Count | None = Field(default=None, validation_alias=IMAGES)
    epochs_run: Count | None = None
    seed: Count | None = None
    average: AveragedWeights | None = None


class ModelDescription(RecordPart):
    """The part of a model card that does not decide how the network is built; unknown fields are absent.

    - ``dataset``; ``targets``: the held-out domains
    - ``trained_on``: all domains that the weights were trained on, see :attr:`ModelCard.seen_domains`
    - ``network``: the architecture, see :class:`~domain_masks.networks.Architecture`; absent in older cards
    - ``preprocessing``: how images are prepared, see :class:`~domain_masks.data.Preprocessing`
    - ``accuracies``: "out_of_domain", "in_domain", "known_domain" -> as in ``results.json``; so are ``protocol``,
      ``nearest_source`` and ``masks``
    - ``temperatures``: ensemble -> the temperature of its probabilities, in a calibrated model
    """

    dataset: Name | None = None
    targets: Names = []
    trained_on: Names | None = None
    network: dict[str, Any] | None = None
    preprocessing: dict[str, Any] | None = None
    protocol: SelectionProtocol | None = None
    training: CardTraining | None = None
    accuracies: dict[Name, Accuracies] = {}
    nearest_source: NearestAccuracy | None = None
    temperatures: dict[Name, FittedTemperature] = {}
    masks: dict[Name, SiteMasks] = {}


class ModelCard(JSONRecord, ModelDescription):
    """The content of ``model.json``.

    - ``version``: of the package that wrote it
    - ``backbone``: a name for :func:`~domain_masks.networks.build_backbone`
    - ``sources``: in the order of the masks' rows
    - ``image_size``: side of the images in pixels
    - ``plugin``: the file or module of the method, if it is not part of this package
    - ``extra_state``: of the method's modules, by name
    - ``not_finite``: the buffers that hold infinity or NaN, such as a running minimum without a value
    """

    newest: ClassVar[int] = FORMAT
    schema_key: ClassVar[str] = "format"
    called: ClassVar[str] = "it describes no model that can be built"
    remedy: ClassVar[str] = "write it again with `dmg evaluate RUN`"

    version: Name | None = None
    backbone: Name
    classes: Annotated[Names, Field(min_length=1, max_length=MOST_CLASSES)]
    sources: Annotated[Names, Field(min_length=1, max_length=MOST_SOURCES)]
    image_size: Annotated[int, Field(ge=1, le=MOST_PIXELS)]
    boundary: Name
    sites: Annotated[list[CardSite], Field(max_length=MOST_SITES)]
    method: CardMethod
    plugin: Name | None = None
    extra_state: dict[Name, Annotated[ExtraState, AfterValidator(_small_enough)]] = {}
    not_finite: Names = []

    @model_validator(mode="before")
    @classmethod
    def _refuse_unwritable(cls, content: Any) -> Any:
        """Refuse names that cannot be encoded as UTF-8, as cards are published."""
        if not is_utf8(json.dumps(content, ensure_ascii=False, default=str)):
            raise ValueError("expected text that can be written in UTF-8")
        return content

    @property
    def seen_domains(self) -> list[str]:
        """All domains that the weights were trained on, also in the runs that this one was initialised from."""
        return self.sources if self.trained_on is None else self.trained_on

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read ``model.json``; raises RunFolderError for a file that is missing, far too large, or describes no model."""
        path = Path(path)
        if path.is_file() and (size := path.stat().st_size) > MOST_BYTES:
            raise RunFolderError(
                f"{path} describes no model: expected at most {MOST_BYTES:,} bytes, got {size:,}; write the model again"
            )
        return super().read(path)
