"""The components of the page and their event handlers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from domain_masks.deploy.demo.answers import TOP, answer, image_of
from domain_masks.deploy.demo.examples import Examples
from domain_masks.deploy.demo.rendering import COLOURS, ensemble_title, figure, parts, percent
from domain_masks.deploy.predicting.image_inputs import ImageInput
from domain_masks.deploy.predicting.model import Model
from domain_masks.deploy.predicting.prediction import ModelOutput
from domain_masks.errors import InputError
from domain_masks.masks import neuron_counts
from domain_masks.methods.base import PREDICTIONS
from domain_masks.records.counts import listed

STYLE = Path(__file__).with_name("style.css")
_EMPTY = '<div class="dmg-empty"><p>Drop an image, or choose one of the examples.</p></div>'
_FEW = 8
_SHOW_ANSWER = """
() => {
  if (window.innerWidth >= 768) return;
  const calm = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  document.getElementById('dmg-answer').scrollIntoView({behavior: calm ? 'auto' : 'smooth'});
}
"""


def theme() -> gr.themes.Base:
    """Return the theme of the page; it uses system fonts, so that none is downloaded."""
    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "monospace"],
        radius_size="lg",
    ).set(
        # A contrast of at least 4.5:1 on either background.
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
    )


def build_page(model: Model, examples: Examples, ensemble: str = PREDICTIONS, where: str = "this machine") -> gr.Blocks:
    """Return the page for a model.

    - ``ensemble``: selected initially
    - ``where``: description of the machine that images are sent to
    """
    word = "" if not model.has_votes else "mask" if model.method.has_masks() else "head"
    predicting = _Predicting(model, examples, word)
    choices = [(ensemble_title(name, word), name) for name in model.ensembles]
    choose = gr.Radio if len(choices) <= _FEW else gr.Dropdown
    title = f"{model.method.name} on {model.backbone}"
    privacy = f"Images are processed on {where} and deleted after the prediction; none is stored or shared."
    with gr.Blocks(analytics_enabled=False, title=f"Try {title} · Domain Masks") as page:
        asked = gr.State(None)
        _html(_introduction(model, title))
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                dropped = gr.File(label="Your image", file_count="single", height=150, elem_id="dmg-file")
                _html(parts().note(privacy))
                offered = gr.Gallery(
                    [(example.thumbnail, example.name) for example in examples.images],
                    label=examples.title,
                    format="png",
                    columns=6,
                    height="auto",
                    object_fit="cover",
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                    elem_id="dmg-examples",
                )
                chosen = choose(
                    choices,
                    value=ensemble,
                    label="Ensemble",
                    info="How the masks are combined.",
                    elem_id="dmg-ensemble",
                )
            with gr.Column(scale=7, min_width=300, elem_id="dmg-answer"):
                with gr.Row():
                    with gr.Column(scale=2, min_width=150):
                        seen = _html("")
                    with gr.Column(scale=5, min_width=240):
                        said = _html(_EMPTY)
                        bars = gr.Label(
                            num_top_classes=TOP,
                            show_heading=False,
                            container=False,
                            visible=False,
                            elem_id="dmg-classes",
                        )
                compared = _html("")
        if masks := model.method.mask_logits():
            exclusive = [
                (f"active only for {source}", f"dmg-colour-{i % COLOURS}") for i, source in enumerate(model.sources)
            ]
            kinds = [
                ("active in all masks", "dmg-shared"),
                ("active in several", "dmg-several"),
                *exclusive,
                ("inactive in all", "dmg-off"),
            ]
            _html(parts().neurons({site: neuron_counts(logits) for site, logits in masks.items()}, kinds))
        answered = [said, bars, compared]
        options: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        upload = dropped.upload(predicting.file, [dropped, chosen], [dropped, asked, seen, *answered], **options)
        click = offered.select(predicting.example, [chosen], [offered, asked, seen, *answered], **options)
        for event in (upload, click):
            event.then(None, js=_SHOW_ANSWER, api_visibility="private")
        chosen.change(predicting.again, [asked, chosen], answered, **options)
    return page


def _html(content: str) -> gr.HTML:
    return gr.HTML(str(content), apply_default_css=False)


class _Predicting:
    """The event handlers for an upload, a click on an example, and a change of the ensemble."""

    def __init__(self, model: Model, examples: Examples, word: str) -> None:
        self._model = model
        self._examples = examples.images
        self._word = word

    def file(self, path: str | None, ensemble: str) -> tuple[Any, ...]:
        """Predict an uploaded file, delete it in any case, and clear the upload field."""
        if path is None:
            return None, None, "", *_empty()
        upload = Path(path)
        try:
            return None, *self._predicted(lambda: upload, upload.name, None, ensemble)
        finally:
            upload.unlink(missing_ok=True)
            with suppress(OSError):
                upload.parent.rmdir()

    def example(self, ensemble: str, event: gr.SelectData) -> tuple[Any, ...]:
        """Predict the clicked example, and clear the selection so that it can be clicked again."""
        chosen = self._examples[int(event.index)]
        predicted = self._predicted(chosen.open, chosen.name, chosen.label, ensemble)
        return gr.Gallery(selected_index=None), *predicted

    def again(self, asked: tuple[ModelOutput, str | None] | None, ensemble: str) -> tuple[Any, ...]:
        """Show the last output under another ensemble, without running the model again."""
        if asked is None:
            return _empty()
        try:
            return self._shown(*asked, ensemble)
        except InputError as error:
            return _empty(parts().problem(str(error)))

    def _predicted(
        self, open_it: Callable[[], ImageInput], name: str, label: str | None, ensemble: str
    ) -> tuple[Any, ...]:
        try:
            seen = figure(image_of(open_it, name, self._model.preprocessing.value_range), name)
            (output,) = self._model.outputs(open_it())
            return (output, label), seen, *self._shown(output, label, ensemble)
        except InputError as error:
            return None, "", *_empty(parts().problem(str(error)))

    def _shown(self, output: ModelOutput, label: str | None, ensemble: str) -> tuple[Any, ...]:
        shown = answer(self._model, output, ensemble, label)
        classes = {guess.class_name: guess.probability for guess in shown.prediction.top}
        nearest = self._model.about_nearest().removeprefix("nearest source: ")
        return (
            str(parts().verdict(shown, ensemble_title(ensemble, self._word))),
            gr.Label(classes, visible=True),
            str(parts().comparison(shown, self._word, self._model.method.domain_classifier is not None, nearest)),
        )


def _empty(said: str = _EMPTY) -> tuple[Any, ...]:
    """Return the values of the answer components when there is no prediction."""
    return str(said), gr.Label(visible=False), ""


def _introduction(model: Model, title: str) -> str:
    values = {"Source domains": listed(model.sources)}
    if model.targets:
        values["Held-out domains"] = listed(model.targets)
    accuracies = model.card.accuracies
    for name, title_of_value in (("out_of_domain", "Out-of-domain accuracy"), ("in_domain", "In-domain accuracy")):
        if name in accuracies:
            values[title_of_value] = percent(accuracies[name].accuracy)
    values["Image size"] = f"{model.preprocessing.size} × {model.preprocessing.size} pixels"
    trained_on = f"Trained on {model.card.dataset}." if model.card.dataset else ""
    return str(parts().introduction(f"Try {title}", trained_on, values, model.classes))
