"""The description of a saved model, ``model.json``; it is checked before a network of that size is built."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from domain_masks.errors import RunFolderError
from domain_masks.records.files import is_utf8
from domain_masks.records.json_record import Count, JSONRecord, RecordPart
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
"""The size that a run may have at most, too."""
MOST_BYTES = 64_000_000
"""Of the file, far more than names of ``MOST_CLASSES`` need; and of the tensors of an extra state."""


def _different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(f"expected names that differ, {twice!r} comes twice")
    return names


Name = Annotated[str, Field(min_length=1, max_length=1_000)]
Names = Annotated[list[Name], AfterValidator(_different)]


class CardSite(RecordPart):
    """A mask site: the module's ``name``, the ``axis`` of its channels, and how many neurons they are, ``size``."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    axis: Annotated[int, Field(ge=-8, le=8)]
    size: Annotated[int, Field(ge=1, le=MOST_NEURONS)]


class CardMethod(RecordPart):
    """A method by its ``name``; its settings stand beside it."""

    name: Name

    @property
    def settings(self) -> dict[str, Any]:
        """The method's settings, by name."""
        return dict(self.model_extra or {})


class StoredTensor(RecordPart):
    """Type, as safetensors names it, and shape of a tensor."""

    dtype: Name
    shape: list[Annotated[int, Field(ge=0, le=MOST_BYTES)]]


class ExtraState(RecordPart):
    """What a module keeps besides tensors of parameters and buffers: a plain ``value``, which may name ``tensors``."""

    value: Any
    tensors: list[StoredTensor]


def _small_enough(extra: ExtraState) -> ExtraState:
    # Of the smallest type; the file's own header says which it is.
    if sum(prod(tensor.shape) for tensor in extra.tensors) > MOST_BYTES:
        raise ValueError(f"expected at most {MOST_BYTES:,} bytes of tensors")
    return extra


class CardTraining(RecordPart):
    """How the model was trained.

    - ``weights``: what the network began from: "imagenet", "none", or the name of a file
    - ``images``: how many training images, in earlier versions called ``pictures``; ``epochs_run``: how many epochs; ``seed``
    - ``average``: what the weights are an average of, where they are one
    """

    weights: Name | None = None
    images: Count | None = Field(default=None, validation_alias=IMAGES)
    epochs_run: Count | None = None
    seed: Count | None = None
    average: AveragedWeights | None = None


class ModelDescription(RecordPart):
    """What is known of a model and does not decide how it is built; a part that is not known is absent.

    - ``dataset``, and ``targets``: the domains that were held out
    - ``trained_on``: all domains that the weights have seen, see :attr:`ModelCard.seen_domains`
    - ``network``: what the network was made from, see :class:`~domain_masks.networks.Architecture`; in older cards absent
    - ``preprocessing``: how its images are prepared, see :class:`~domain_masks.data.Preprocessing`
    - ``accuracies``: "out_of_domain", "in_domain", "known_domain" -> as in ``results.json``; so are ``protocol``,
      ``nearest_source`` and ``masks``
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
    masks: dict[Name, SiteMasks] = {}


class ModelCard(JSONRecord, ModelDescription):
    """The content of ``model.json``.

    - ``version``: of the package that wrote it
    - ``backbone``: the name that :func:`~domain_masks.networks.build_backbone` knows
    - ``sources``: in the order of the masks' rows
    - ``image_size``: in pixels, of the sides
    - ``plugin``: where the method comes from, if not from this package
    - ``extra_state``: of the method's modules, by name
    - ``not_finite``: the buffers that hold infinity or NaN, as one may that waits for its first value
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
        """Refuse names that no file in UTF-8 can hold: what is made of a card is published."""
        if not is_utf8(json.dumps(content, ensure_ascii=False, default=str)):
            raise ValueError("expected text that can be written in UTF-8")
        return content

    @property
    def seen_domains(self) -> list[str]:
        """All domains that the weights have seen, also in earlier runs that this one started from."""
        return self.sources if self.trained_on is None else self.trained_on

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read ``model.json``; raises RunFolderError for a file that is missing, far too large, or describes no model."""
        path = Path(path)
        if path.is_file() and (size := path.stat().st_size) > MOST_BYTES:
            raise RunFolderError(
                f"{path} describes no model: expected at most {MOST_BYTES:,} bytes, got {size:,}; write the model anew"
            )
        return super().read(path)
