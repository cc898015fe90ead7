"""What a run was made from: saved in its checkpoint, and compared when it is resumed or evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, ConfigDict, Field, ValidationError
from torch import Tensor

from domain_masks.errors import RunFolderError
from domain_masks.records.json_record import RecordPart, Seconds, Text

KEY = "facts"
"""Its key in a checkpoint."""


class Provenance(RecordPart):
    """What a run was made from; what a checkpoint of an older version does not say is None or empty.

    - ``division``: a hash of the division of the sources' images into training and validation
    - ``classes``, ``domains``: the names that positions stand for
    - ``trained_on``, ``trained_images``: the domains, and the keys (N,) of the images, that the weights were trained on, also
      in the runs that this one was initialised from
    - ``learned_sources``: the sources that are trained on; with ``learn: masks`` the new ones
    - ``network``: what the network was made from, see :class:`~domain_masks.networks.Architecture`
    - ``contents``: keys (N, 2) of the dataset's images and of their content, see :mod:`domain_masks.training.contents`
    - ``not_finite``: the buffers of the new method that are not finite, see
      :func:`~domain_masks.training.state.infinite_buffers`
    - ``left_out``: the images that could not be read
    - ``preparation``: seconds from the start of the run to its first step, summed over all times that it was resumed
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    division: Text | None = Field(
        default=None, validation_alias=AliasChoices("images", "pictures"), serialization_alias="images"
    )
    classes: list[Text] = []
    domains: list[Text] = []
    trained_on: list[Text] = []
    trained_images: Tensor | None = Field(
        default=None, validation_alias=AliasChoices("trained_images", "trained_pictures")
    )
    learned_sources: list[Text] = []
    network: dict[str, Any] | None = None
    contents: Tensor | None = None
    not_finite: dict[str, list[Text]] | None = None
    left_out: list[Text] = []
    preparation: Seconds = 0.0

    @classmethod
    def of_checkpoint(cls, state: Mapping[str, Any]) -> Provenance:
        """Return the provenance in the content of a checkpoint; raises RunFolderError where it is malformed."""
        try:
            return cls.model_validate(state.get(KEY, {}))
        except ValidationError as error:
            raise RunFolderError(
                "the checkpoint does not say as it should what its run was made from: it was changed by hand. Restore it, or "
                "start a new run in another folder (--out)"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Return the tensors and plain values for a checkpoint, without unknown ones."""
        return {name: value for name, value in self.model_dump(by_alias=True).items() if value is not None}

    def resumed(self, before: Provenance) -> Provenance:
        """Return this with every field replaced that is set in ``before``, the checkpoint's."""
        return self.model_copy(update={name: getattr(before, name) for name in before.model_fields_set})
