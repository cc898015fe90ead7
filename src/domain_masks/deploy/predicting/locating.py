"""Find the files of a model in a run folder, by one of the files, or on the Hub; without importing torch."""

from __future__ import annotations

import re
from pathlib import Path

from domain_masks.errors import InputError
from domain_masks.records.files import PICKLED, is_there
from domain_masks.records.run_folder import MODEL_CARD, MODEL_WEIGHTS

HUB = "hf:"
HUB_NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)


def locate(source: str | Path, token: str | None = None) -> Path:
    """Return the folder with the model files of ``source``, downloading them from the Hub if necessary.

    Raises InputError if there is no model.
    """
    text = str(source)
    hub = HUB_NAME.fullmatch(text.removeprefix(HUB)) if isinstance(source, str) else None
    if text.startswith(HUB):
        if hub is None:
            raise InputError(f"expected the name of a model after {HUB}, as in {HUB}owner/name@revision, got {text!r}")
        return _fetched(hub, token)
    path = Path(text).expanduser()
    if is_there(path):
        return _folder(path)
    if hub is not None and not is_there(path.parent):
        return _fetched(hub, token)
    raise InputError(
        f"there is no model at {text!r}: expected a run folder, a folder with {MODEL_WEIGHTS} and {MODEL_CARD}, or a name "
        f"on the Hub, as in {HUB}owner/name"
    )


def _fetched(hub: re.Match[str], token: str | None) -> Path:
    from domain_masks.deploy.hub.client import fetch  # noqa: PLC0415 - its library takes a second, and is an extra

    return fetch(hub["name"], hub["revision"], token)


def _folder(path: Path) -> Path:
    if path.is_dir():
        if is_there(path / MODEL_CARD) or is_there(path / MODEL_WEIGHTS):
            return path
        unfinished = (path / "checkpoints").is_dir()
        advice = "; the run is not finished: resume it with `dmg train --resume`" if unfinished else ""
        raise InputError(
            f"there is no model in {str(path)!r}: expected {MODEL_WEIGHTS} and {MODEL_CARD}, as a run writes them{advice}"
        )
    if path.name in (MODEL_WEIGHTS, MODEL_CARD):
        return path.parent
    if path.suffix.lower() in PICKLED:
        run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
        raise InputError(
            f"{str(path)!r} is refused as a model: checkpoints and pickles can run code when they are read, and do not say "
            f"what network they belong to. Give the run folder instead ({str(run)!r}), which has {MODEL_WEIGHTS} and "
            f"{MODEL_CARD}; if the run is unfinished, resume it, or write them with `dmg evaluate RUN`"
        )
    raise InputError(
        f"{str(path)!r} is not a model: expected a run folder, or {MODEL_WEIGHTS} next to {MODEL_CARD}, as a run writes them"
    )
