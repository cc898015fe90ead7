"""The components of the page and their event handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from domain_masks.deploy.demo.answers import TOP, answer, image_of
from domain_masks.deploy.demo.endpoints import MODEL_AT_ONCE, add_endpoints, delete_uploads
from domain_masks.deploy.demo.evidence import EvidenceFinder
from domain_masks.deploy.demo.examples import Examples
from domain_masks.deploy.demo.rendering import COLOURS, data_address, ensemble_title, figure, parts, percent
from domain_masks.deploy.demo.uploads import MOST_BYTES, MOST_IMAGES, predict_uploads
from domain_masks.deploy.predicting.image_inputs import ImageInput
from domain_masks.deploy.predicting.model import Model
from domain_masks.deploy.predicting.prediction import ModelOutput
from domain_masks.errors import InputError
from domain_masks.masks import neuron_counts
from domain_masks.methods.base import PREDICTIONS
from domain_masks.records.counts import listed
from domain_masks.records.test_time import AtTestTime

STYLE = Path(__file__).with_name("style.css")
_EMPTY = '<div class="dmg-empty"><p>Drop an image, or choose one of the examples.</p></div>'
_NO_IMAGES = (
    '<div class="dmg-empty"><p>Drop images or ZIP files to get a table and a CSV file of predictions.</p></div>'
)
_ROWS = 100
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


def build_page(
    model: Model,
    examples: Examples,
    ensemble: str = PREDICTIONS,
    where: str = "this machine",
    test_time: AtTestTime | None = None,
) -> gr.Blocks:
    """Return the page for a model.

    - ``ensemble``: selected initially
    - ``where``: description of the machine that images are sent to
    - ``test_time``: views of each image; the page then says what they look at beside every prediction
    """
    word = "" if not model.has_votes else "mask" if model.method.has_masks() else "head"
    predicting = _Predicting(model, examples, word, test_time)
    choices = [(ensemble_title(name, word), name) for name in model.ensembles]

    def ensemble_choice(elem_id: str) -> gr.Radio | gr.Dropdown:
        kind = gr.Radio if len(choices) <= _FEW else gr.Dropdown
        return kind(choices, value=ensemble, label="Ensemble", info="How the masks are combined.", elem_id=elem_id)

    title = f"{model.method.name} on {model.backbone}"
    privacy = f"Images are processed on {where} and deleted after the prediction; none is stored or shared."
    with gr.Blocks(analytics_enabled=False, title=f"Try {title} · Domain Masks") as page:
        asked = gr.State(None)
        _html(_introduction(model, title, test_time))
        with gr.Tab("One image"), gr.Row(equal_height=False):
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
                chosen = ensemble_choice("dmg-ensemble")
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
                compared, evidence = _html(""), _html("")
        with gr.Tab("Many images"), gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                batch = gr.File(
                    label="Your images, or ZIP files with images",
                    file_count="multiple",
                    height=150,
                    elem_id="dmg-files",
                )
                _html(parts().note(f"At most {MOST_IMAGES:,} images of {MOST_BYTES // 2**20} MB. {privacy}"))
                chosen_for_batch = ensemble_choice("dmg-batch-ensemble")
            with gr.Column(scale=7, min_width=300, elem_id="dmg-batch"):
                table = _html(_NO_IMAGES)
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
        runs: dict[str, Any] = {**options, "concurrency_id": MODEL_AT_ONCE, "concurrency_limit": 1}
        shown = [asked, seen, *answered, evidence]
        upload = dropped.upload(predicting.file, [dropped, chosen], [dropped, *shown], **runs)
        click = offered.select(predicting.example, [chosen], [offered, *shown], **runs)
        batch.upload(predicting.files, [batch, chosen_for_batch], [batch, table], **{**runs, "show_progress": "full"})
        for event in (upload, click):
            event.then(None, js=_SHOW_ANSWER, api_visibility="private")
        chosen.change(predicting.again, [asked, chosen], answered, **options)
        add_endpoints(model, test_time)
    return page


def _html(content: str) -> gr.HTML:
    return gr.HTML(str(content), apply_default_css=False)


class _Predicting:
    """The event handlers for an upload, a click on an example, and a change of the ensemble."""

    def __init__(self, model: Model, examples: Examples, word: str, test_time: AtTestTime | None) -> None:
        self._model = model
        self._test_time = test_time
        self._how = "" if test_time is None else test_time.in_words()
        self._examples = examples.images
        self._word = word
        self._evidence = EvidenceFinder(model)

    def file(self, path: str | None, ensemble: str) -> Iterator[tuple[Any, ...]]:
        """Predict an uploaded file, delete it before anything is shown, and clear the upload field."""
        if path is None:
            yield None, None, "", *_empty(), ""
            return
        upload = Path(path)
        try:
            for shown in self._predicted(lambda: upload, upload.name, None, ensemble):
                delete_uploads([upload])
                yield None, *shown
        finally:
            delete_uploads([upload])

    def example(self, ensemble: str, event: gr.SelectData) -> Iterator[tuple[Any, ...]]:
        """Predict the clicked example, and clear the selection so that it can be clicked again."""
        chosen = self._examples[int(event.index)]
        for shown in self._predicted(chosen.open, chosen.name, chosen.label, ensemble):
            yield gr.Gallery(selected_index=None), *shown

    def files(self, paths: list[str] | None, ensemble: str) -> tuple[Any, str]:
        """Predict many uploaded files, delete them in any case, and clear the upload field."""
        uploads = [Path(path) for path in paths or []]
        if not uploads:
            return None, _NO_IMAGES
        try:
            found = predict_uploads(self._model, uploads, ensemble, TOP, self._test_time)
        except InputError as error:
            return None, str(parts().problem(str(error)))
        finally:
            delete_uploads(uploads)
        address = data_address(found.csv, "text/csv")
        sources = self._model.sources if self._model.has_votes else ()
        return None, str(parts().batch(found, sources, self._word, address, _ROWS, self._how))

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
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the answer, and then also the class activation maps, which take longer; the image is read before both."""
        try:
            seen = figure(image_of(open_it, name, self._model.preprocessing.value_range), name)
            (output,) = self._model.outputs(open_it(), test_time=self._test_time)
            shown = (output, label), seen, *self._shown(output, label, ensemble)
            inputs = self._evidence.inputs(open_it)
        except InputError as error:
            yield None, "", *_empty(parts().problem(str(error))), ""
            return
        yield *shown, ""
        (prediction,) = self._model.predictions(output, PREDICTIONS, 1)
        evidence = self._evidence.find(inputs, prediction.class_name)
        if evidence is not None:
            addresses = [
                (ensemble_title(name, self._word), None if heat is None else data_address(heat, "image/webp"))
                for name, heat in evidence.maps.items()
            ]
            yield *shown, str(parts().evidence(evidence, addresses, self._how))

    def _shown(self, output: ModelOutput, label: str | None, ensemble: str) -> tuple[Any, ...]:
        shown = answer(self._model, output, ensemble, label)
        classes = {guess.class_name: guess.probability for guess in shown.prediction.top}
        is_classified = self._model.method.domain_classifier is not None
        nearest = self._model.about_nearest(self._test_time).removeprefix("nearest source: ")
        return (
            str(parts().verdict(shown, ensemble_title(ensemble, self._word), self._how)),
            gr.Label(classes, visible=True),
            str(parts().comparison(shown, self._word, is_classified, nearest, self._how)),
        )


def _empty(said: str = _EMPTY) -> tuple[Any, ...]:
    """Return the values of the answer components when there is no prediction."""
    return str(said), gr.Label(visible=False), ""


def _introduction(model: Model, title: str, test_time: AtTestTime | None) -> str:
    values = {"Source domains": listed(model.sources)}
    if model.targets:
        values["Held-out domains"] = listed(model.targets)
    accuracies = model.card.accuracies
    for name, title_of_value in (("out_of_domain", "Out-of-domain accuracy"), ("in_domain", "In-domain accuracy")):
        if name in accuracies:
            # What model.json holds is of ordinary predictions.
            without = "" if test_time is None else f", without {test_time.name}"
            values[title_of_value + without] = percent(accuracies[name].accuracy)
    values["Image size"] = f"{model.preprocessing.size} × {model.preprocessing.size} pixels"
    how = "" if test_time is None else test_time.in_words()
    trained_on = f"Trained on {model.card.dataset}." if model.card.dataset else ""
    return str(parts().introduction(f"Try {title}", trained_on, values, model.classes, how))
