"""A mixin with ``push_to_hub`` for models that can be saved and described."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from domain_masks.keywords import named_keywords


class HubMixin(ABC):
    """Adds ``push_to_hub`` to a model; unlike ``ModelHubMixin`` it needs huggingface_hub only when it is called."""

    @abstractmethod
    def save(self, folder: Path | str) -> None:
        """Write the two files of the model into ``folder``."""

    @abstractmethod
    def model_card(self, repo_id: str | None = None, figures: Mapping[str, str] | None = None) -> str:
        """Return the model card as Markdown."""

    @named_keywords
    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload the model with its card to the Hub; see :func:`domain_masks.deploy.push_to_hub`."""
        from domain_masks.deploy.hub.client import hub_library, upload  # noqa: PLC0415 - only needed to publish

        hub_library()
        with TemporaryDirectory() as folder:
            self.save(folder)
            return upload(Path(folder), self.model_card(repo_id), repo_id, private, token)
