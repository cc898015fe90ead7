"""The page's API: what ``gradio_client`` and other programs can call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from domain_masks.deploy.demo.uploads import predict_uploads
from domain_masks.deploy.predicting.model import Model
from domain_masks.errors import DomainMasksError, InputError
from domain_masks.methods.base import PREDICTIONS
from domain_masks.records.test_time import AtTestTime

MODEL_AT_ONCE = "model"
"""The events that run the model: one at a time, since class activation maps watch the network while it runs."""
_TOP = 5


def add_endpoints(model: Model, test_time: AtTestTime | None = None) -> None:
    """Add the endpoints ``/predict``, ``/predict_many`` and ``/model`` to the page that is being built.

    - ``test_time``: the option with which all images are predicted
    """
    predicted = partial(_predicted, model, test_time)

    def predict(image: str | None, ensemble: str = PREDICTIONS, top: float = _TOP) -> dict[str, Any]:
        """Predict one image; the result is what `dmg predict` writes as JSON: class, probability, top, votes, ..."""
        found = predicted([] if image is None else [image], ensemble, top)
        if found["unreadable"]:
            problem = found["unreadable"][0]
            raise _refusal(f"{problem['image']!r} cannot be read as an image: {problem['reason']}")
        predictions = found["predictions"]
        if len(predictions) != 1:
            raise _refusal("expected one image, got a ZIP file: use /predict_many")
        only: dict[str, Any] = predictions[0]
        return only

    def predict_many(images: list[str] | None, ensemble: str = PREDICTIONS, top: float = _TOP) -> dict[str, Any]:
        """Predict images, also in ZIP files: "predictions", one object each, and "unreadable", path and reason."""
        return predicted(images or [], ensemble, top)

    def about() -> dict[str, Any]:
        """Return classes, sources, held-out domains, ensembles, method, backbone, image size and the option of test time."""
        return {
            "classes": list(model.classes),
            "sources": list(model.sources),
            "targets": list(model.targets),
            "ensembles": list(model.ensembles),
            "method": model.method.name,
            "backbone": model.backbone,
            "image_size": model.preprocessing.size,
            "test_time": None if test_time is None else test_time.name,
            "test_time_protocol": None if test_time is None else test_time.in_words(),
        }

    one = gr.File(visible=False, label="image")
    many = gr.File(visible=False, label="images", file_count="multiple")
    ensemble = gr.Textbox(PREDICTIONS, visible=False, label="ensemble")
    top = gr.Number(_TOP, visible=False, label="top", precision=0)
    result = gr.JSON(visible=False, label="result")
    calls: tuple[tuple[Callable[..., Any], list[Any]], ...] = (
        (predict, [one, ensemble, top]),
        (predict_many, [many, ensemble, top]),
    )
    options: dict[str, Any] = {"concurrency_id": MODEL_AT_ONCE, "concurrency_limit": 1}
    for function, inputs in calls:
        gr.Button(visible=False).click(function, inputs, result, api_name=function.__name__, **options)
    gr.Button(visible=False).click(about, None, result, api_name="model")


def delete_uploads(paths: list[Path]) -> None:
    """Delete uploaded files, and their folders, which hold nothing else."""
    for path in paths:
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()


def _refusal(message: str) -> gr.Error:
    """Return an error whose message reaches the caller, and no traceback the terminal."""
    return gr.Error(message, print_exception=False)


def _predicted(
    model: Model, test_time: AtTestTime | None, images: list[str], ensemble: str, top: float
) -> dict[str, Any]:
    """Predict uploaded files and delete them in any case; mistakes are gradio's errors, which name them to the caller."""
    files = [Path(image) for image in images]
    try:
        if not 1 <= top < float("inf"):
            raise InputError(f"top: expected a whole number from 1, got {top}")
        return predict_uploads(model, files, ensemble, int(top), test_time).to_dict()
    except DomainMasksError as error:
        raise _refusal(str(error)) from error
    finally:
        delete_uploads(files)
