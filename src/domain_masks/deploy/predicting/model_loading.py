"""Load a model from a run folder, a file or the Hub."""

from __future__ import annotations

from pathlib import Path

from domain_masks.deploy.predicting.locating import locate
from domain_masks.deploy.predicting.model import Model
from domain_masks.keywords import named_keywords
from domain_masks.methods.saving import load_model


@named_keywords
def load(source: str | Path, *, device: str = "auto", token: str | None = None) -> Model:
    """Load a trained model.

    - ``source``: a run folder, any folder with ``model.safetensors`` and ``model.json``, the path of one of the two, or a
      name on the hub: ``owner/name``, ``owner/name@revision``, with ``hf:`` before it where a folder ``owner`` is here
    - ``device``: ``auto``, ``cpu`` or ``cuda``
    - ``token``: for a private model of the hub; by default the one that huggingface_hub has stored

    Nothing that could run code is read: pickles are refused. Raises RunFolderError for a malformed ``model.json`` or a
    newer format, InputError for what is no model, weights that do not fit, and a name that the hub does not have.
    """
    method, card = load_model(locate(source, token))
    return Model(method, card, device)
