"""Publish a model, or what stands for one, on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from domain_masks.deploy.hub.client import hub_library, upload
from domain_masks.deploy.hub.mixin import HubMixin
from domain_masks.deploy.predicting.locating import locate
from domain_masks.deploy.predicting.model_loading import load
from domain_masks.keywords import named_keywords


@named_keywords
def push_to_hub(model: HubMixin | str | Path, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
    """Put a model on the hub, with its model card as README.md, in one commit; returns the address of the commit.

    - ``model``: a model, or what :func:`load` takes
    - ``repo_id``: ``owner/name``, made if it is not there; its README.md is replaced
    - ``private``: of a repository that is made
    - ``token``: one that may write; by default the one that huggingface_hub has stored (``hf auth login``)

    Raises InputError where the library is not installed, the name or the token cannot be used; DownloadError where the hub
    cannot be reached or refuses.
    """
    if isinstance(model, HubMixin):
        return model.push_to_hub(repo_id, private=private, token=token)
    hub_library()
    folder = locate(model, token)
    return upload(folder, load(folder, device="cpu").model_card(repo_id), repo_id, private, token)
