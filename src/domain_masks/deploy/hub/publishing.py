"""Publish a model or a run folder on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from domain_masks.deploy.hub.client import hub_library, upload
from domain_masks.deploy.hub.mixin import HubMixin
from domain_masks.deploy.predicting.locating import locate
from domain_masks.deploy.predicting.model_loading import load
from domain_masks.keywords import named_keywords


@named_keywords
def push_to_hub(model: HubMixin | str | Path, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload a model to the Hub, with its model card as README.md, in one commit; returns the URL of the commit.

    - ``model``: a model, or a source for :func:`load`
    - ``repo_id``: ``owner/name``, created if it does not exist; its README.md is replaced
    - ``private``: whether a newly created repository is private
    - ``token``: with write access; by default the one stored by huggingface_hub (``hf auth login``)

    Raises InputError if the library is not installed or the name is invalid, DownloadError if the Hub cannot be reached or
    refuses the request.
    """
    if isinstance(model, HubMixin):
        return model.push_to_hub(repo_id, private=private, token=token)
    hub_library()
    folder = locate(model, token)
    return upload(folder, load(folder, device="cpu").model_card(repo_id), repo_id, private, token)
