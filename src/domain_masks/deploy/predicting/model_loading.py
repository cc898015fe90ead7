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
      name on the Hub: ``owner/name``, ``owner/name@revision``, prefixed with ``hf:`` if a folder ``owner`` exists here
    - ``device``: ``auto``, ``cpu`` or ``cuda``
    - ``token``: for a private model on the Hub; by default the one stored by huggingface_hub

    Pickles are refused, as loading them can run code. Raises RunFolderError for a malformed ``model.json`` or a newer format,
    InputError for a source that is not a model, weights that do not match, and a name that the Hub does not have.
    """
    method, card = load_model(locate(source, token))
    return Model(method, card, device)
