"""``model.push_to_hub`` for whatever can be saved and described, as huggingface_hub's own mixin gives it to its models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory

from domain_masks.keywords import named_keywords


class HubMixin(ABC):
    """Gives a model ``push_to_hub``; huggingface_hub's ``ModelHubMixin`` would need that library wherever a model is loaded."""

    @abstractmethod
    def save(self, folder: Path | str) -> None:
        """Write the two files of the model into ``folder``."""

    @abstractmethod
    def model_card(self, repo_id: str | None = None) -> str:
        """Return the model card as Markdown."""

    @named_keywords
    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Put the model with its card on the hub; see :func:`domain_masks.deploy.push_to_hub`."""
        from domain_masks.deploy.hub.client import hub_library, upload  # noqa: PLC0415 - for those who publish

        hub_library()
        with TemporaryDirectory() as folder:
            self.save(folder)
            return upload(Path(folder), self.model_card(repo_id), repo_id, private, token)
