"""The trained run that another one starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain_masks.errors import InputError, RunFolderError
from domain_masks.methods import Method
from domain_masks.methods.build import method_class
from domain_masks.methods.saving import adopt, read_card
from domain_masks.records.config import RunConfig


@dataclass(frozen=True)
class Origin:
    """The model of a finished run: ``model.safetensors`` and ``model.json``.

    Raises RunFolderError where the folder holds no finished run.
    """

    folder: Path
    card: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Origin:
        """Read the description of the model in a run folder."""
        if not (folder / "model.json").is_file():
            raise RunFolderError(
                f"--init_from {str(folder)!r}: expected the folder of a finished run, with model.json and model.safetensors, "
                f"got {'one without them' if folder.is_dir() else 'no folder'}. Finish that run first, or give another"
            )
        return cls(folder, read_card(folder))

    @property
    def trained_on(self) -> tuple[str, ...]:
        """All domains that the model's weights have seen, also those that earlier runs of its line were trained on."""
        return tuple(self.card.get("trained_on", self.card["sources"]))

    def defaults(self, config: RunConfig) -> dict[str, Any]:
        """Return the settings of a run that starts from here, where they are not given.

        Sites and boundary come along where the method can use them. Raises InputError where another backbone is asked for.
        """
        if config.backbone not in (None, self.card["backbone"]):
            raise InputError(
                f"the run in {self.folder} has the backbone {self.card['backbone']!r}: expected the same one, got "
                f"{config.backbone!r}; leave out --backbone, or --init_from"
            )
        method = config.method_name
        settings: dict[str, Any] = {
            "backbone": self.card["backbone"],
            "weights": "none",
            "size": self.card["image_size"],
            "square": self.card.get("preprocessing", {}).get("square"),
        }
        sites = tuple(site["name"] for site in self.card["sites"])
        if method == self.card["method"]["name"] or sites:
            settings["boundary"] = self.card["boundary"]
        if sites and method_class(method).has_masks:
            settings["sites"] = sites
        return {name: value for name, value in settings.items() if value is not None}

    def start(self, method: Method, targets: Sequence[str]) -> tuple[str, ...]:
        """Give ``method`` the model's weights; returns the sources that are new.

        Raises InputError where a held-out domain was trained on, or the model does not fit.
        """
        seen = [name for name in targets if name in self.trained_on]
        if seen:
            raise InputError(
                f"held-out domain {seen[0]!r} was trained on by the run in {self.folder}: its accuracy would not be out of "
                "domain. Hold out another one, or start from a run that did not see it"
            )
        return adopt(method, self.folder, self.card)
