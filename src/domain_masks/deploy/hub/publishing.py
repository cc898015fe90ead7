"""Publish a model or a run folder on the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from domain_masks.deploy.hub.client import README, check_name, hub_library, upload
from domain_masks.deploy.hub.mixin import HubMixin
from domain_masks.deploy.predicting.locating import locate
from domain_masks.deploy.predicting.model_loading import load
from domain_masks.keywords import named_keywords
from domain_masks.records.run_folder import MODEL_CARD, MODEL_WEIGHTS, RunFolder

FIGURES = {
    "overlap.png": "Overlap of the masks",
    "activated.png": "Active units",
    "mask_by_domain.png": "Accuracy of every mask on every domain",
    "nearest_source.png": "Nearest source",
    "calibration.png": "Calibration",
}
"""The figures of an analysis that go to the Hub -> their titles; those that show images of the dataset are not among them."""


@named_keywords
def push_to_hub(
    model: HubMixin | str | Path,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    figures: bool = True,
) -> str:
    """Upload a model to the Hub, with its model card as README.md, in one commit; returns the URL of the commit.

    - ``model``: a model, or a source for :func:`load`
    - ``repo_id``: ``owner/name``, created if it does not exist; its README.md is replaced
    - ``private``: whether a newly created repository is private
    - ``token``: with write access; by default the one stored by huggingface_hub (``hf auth login``)
    - ``figures``: whether the figures of a run's analysis that show no images of the dataset go with it

    Raises InputError if the library is not installed or the name is invalid, DownloadError if the Hub cannot be reached or
    refuses the request.
    """
    if isinstance(model, HubMixin):
        return model.push_to_hub(repo_id, private=private, token=token)
    hub_library()
    return publication(locate(model, token), repo_id, figures).upload(private, token)


@dataclass(frozen=True)
class Publication:
    """What is uploaded of a model; ``figures``: file -> its title, in the run's ``figures/``."""

    folder: Path
    repo_id: str
    figures: dict[Path, str]

    @cached_property
    def readme(self) -> str:
        """The model card, with the figures."""
        model = load(self.folder, device="cpu")
        shown = {f"figures/{path.name}": title for path, title in self.figures.items()}
        return model.model_card(self.repo_id, shown)

    @property
    def sizes(self) -> dict[str, int]:
        """Name in the repository -> size in bytes."""
        files = {name: (self.folder / name).stat().st_size for name in (MODEL_CARD, MODEL_WEIGHTS)}
        files[README] = len(self.readme.encode())
        return files | {f"figures/{path.name}": path.stat().st_size for path in self.figures}

    def upload(self, private: bool, token: str | None = None) -> str:
        """Upload it in one commit; returns the URL of the commit."""
        return upload(self.folder, self.readme, self.repo_id, private, token, list(self.figures))


def publication(folder: Path, repo_id: str, figures: bool = True) -> Publication:
    """Return what would be uploaded of the model in ``folder``; nothing is sent.

    Raises InputError if ``repo_id`` is no valid name.
    """
    check_name(repo_id)
    own = RunFolder(folder).figures
    there = {own / name: title for name, title in FIGURES.items() if (own / name).is_file()} if figures else {}
    return Publication(folder, repo_id, there)
