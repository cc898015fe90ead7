"""The trained run that another one starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domain_masks.data import DomainSplits, Preprocessing
from domain_masks.errors import InputError, RunFolderError
from domain_masks.methods import Method
from domain_masks.methods.initial_weights import load_initial_weights
from domain_masks.methods.method_registry import described
from domain_masks.records import RunFolder
from domain_masks.records.config import RunConfig
from domain_masks.records.model_card import ModelCard
from domain_masks.records.run_folder import require_model
from domain_masks.records.setting_types import as_range
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.provenance import Provenance

_STEPS = {
    "square": "--square",
    "mean": "--mean",
    "std": "--std",
    "interpolation": "--interpolation",
    "value_range": "--value_range",
    "stored": "--resizing",
}
"""Step of the preparation of images that does not depend on their size -> its setting."""


@dataclass(frozen=True)
class InitialModel:
    """The model of a finished run: ``model.safetensors`` and ``model.json``.

    Raises RunFolderError where the folder holds no finished run.
    """

    folder: Path
    card: ModelCard

    @classmethod
    def read(cls, folder: Path) -> InitialModel:
        """Read the description of the model in a run folder."""
        require_model(folder)
        return cls(folder, ModelCard.read(folder / "model.json"))

    @property
    def trained_on(self) -> tuple[str, ...]:
        """All domains that the weights were trained on, also in the runs that this one was initialised from."""
        return tuple(self.card.seen_domains)

    def defaults(self, config: RunConfig) -> dict[str, Any]:
        """Return the default settings of a run that is initialised from this model.

        Sites and boundary are among them where the method can use them. Raises InputError where another backbone is asked for.
        """
        if config.backbone not in (None, self.card.backbone):
            raise InputError(
                f"the run in {self.folder} has the backbone {self.card.backbone!r}: expected the same one, got "
                f"{config.backbone!r}; leave out --backbone, or --init_from"
            )
        method = config.method_name
        settings: dict[str, Any] = {
            "backbone": self.card.backbone,
            "weights": "none",
            "size": self.card.image_size,
            **self._images(),
        }
        sites = tuple(site.name for site in self.card.sites)
        if method == self.card.method.name or sites:
            settings["boundary"] = self.card.boundary
        if sites and described(method).has_sites():
            settings["sites"] = sites
        return {name: value for name, value in settings.items() if value is not None}

    def _images(self) -> dict[str, Any]:
        """Return the settings by which the run's images were prepared; none where its model card does not have them."""
        preprocessing = self._preprocessing()
        if preprocessing is None:
            return {}
        # Not "stored": its setting, resizing, is never None, so that it cannot have been left to a default.
        shared = {name: getattr(preprocessing, name) for name in _STEPS if name != "stored"}
        if shared["value_range"] is not None:
            shared["value_range"] = as_range(shared["value_range"])
        return {**shared, "crop": preprocessing.size / preprocessing.resize}

    def _preprocessing(self) -> Preprocessing | None:
        values = self.card.preprocessing
        if not values:
            return None
        try:
            return Preprocessing.from_dict(values)
        except InputError as error:
            raise RunFolderError(f"{self.folder / 'model.json'}, preprocessing: {error}") from error

    def notes_on_images(self, prepared: Preprocessing) -> Iterator[str]:
        """Yield a note per step of the preparation of images in which ``prepared`` differs from this model's."""
        own = self._preprocessing()
        if own is None:
            return
        for name, setting in _STEPS.items():
            here, there = getattr(prepared, name), getattr(own, name)
            if (here is None) != (there is None) or (name != "stored" and here != there):
                yield (
                    f"note: {setting} is {_in_words(name, here)} in this run and {_in_words(name, there)} in the one that it "
                    f"starts from, in {self.folder}: its network has seen other images"
                )

    @property
    def trained_images(self) -> Tensor:
        """Keys of all images that the weights were trained on, as far as its checkpoint has them; see :func:`image_keys`."""
        try:
            keys = Provenance.of_checkpoint(load_checkpoint(RunFolder(self.folder).last)).trained_images
        except RunFolderError:
            keys = None
        return keys if keys is not None else torch.empty(0, dtype=torch.int64)

    def refuse_images(self, splits: DomainSplits) -> None:
        """Raise InputError where validation, test or held-out images were trained on by the run or an earlier one."""
        measuring = [
            *splits.validation.ids,
            *(splits.test.ids if splits.test is not None else ()),
            *splits.held_out.ids,
        ]
        seen = torch.isin(image_keys(measuring), self.trained_images)
        if bool(seen.any()):
            example = measuring[int(seen.nonzero()[0])]
            raise InputError(
                f"{int(seen.sum())} of {len(measuring)} validation, test and held-out images, such as {example!r}, were "
                f"trained on by the run in {self.folder} or one before it: expected a division like the one it had. Use its "
                "--split_seed and its images, or a manifest that says the splits"
            )

    def start(self, method: Method, targets: Sequence[str], masks_alone: bool = False) -> tuple[str, ...]:
        """Load the model's weights into ``method``; returns the sources that are new.

        With ``masks_alone`` the model needs masks at all sites of ``method``, or none. Raises InputError where a
        held-out domain was trained on, or the model does not fit.
        """
        seen = [name for name in targets if name in self.trained_on]
        if seen:
            raise InputError(
                f"held-out domain {seen[0]!r} was trained on by the run in {self.folder}: its accuracy would not be out of "
                "domain. Hold out another one, or start from a run that did not see it"
            )
        return load_initial_weights(method, self.folder, self.card, masks_alone)


def _in_words(step: str, value: Any) -> str:
    if step == "stored":
        return "once" if value is None else "released-code"
    if step == "value_range":
        return "that of the images' type" if value is None else str(as_range(value))
    if isinstance(value, tuple):
        return " ".join(f"{number:.6g}" for number in value)
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def image_keys(ids: Sequence[str]) -> Tensor:
    """Return a 63-bit key of each image's id, int64 (N,)."""
    digests = b"".join(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest() for name in ids)
    return torch.from_numpy((np.frombuffer(digests, dtype="<u8") >> 1).astype(np.int64))
