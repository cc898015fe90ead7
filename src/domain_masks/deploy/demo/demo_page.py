"""The page itself: which part shows what, and what happens on a click."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from domain_masks.deploy.demo import markup
from domain_masks.deploy.demo.agreement import site_agreements
from domain_masks.deploy.demo.answers import Answer, answer, image_of, shown
from domain_masks.deploy.demo.examples import Examples
from domain_masks.deploy.predicting.image_inputs import ImageInput
from domain_masks.deploy.predicting.model import Model
from domain_masks.errors import InputError
from domain_masks.methods.base import PREDICTIONS

STYLE = Path(__file__).with_name("style.css")
_EMPTY = '<div class="dmg-empty"><p>Drop an image, or take one of the examples.</p></div>'
_FEW = 8
_ON_CLICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-index]');
  if (button) trigger('click', {index: Number(button.dataset.index)});
});
"""
_SHOW_ANSWER = """
() => {
  if (window.innerWidth >= 768) return;
  const calm = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  document.getElementById('dmg-answer').scrollIntoView({behavior: calm ? 'auto' : 'smooth'});
}
"""


def theme() -> gr.themes.Base:
    """Return the look of the page: the system's own fonts, so that none is fetched."""
    return gr.themes.Base(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "monospace"],
        radius_size="lg",
    ).set(
        # Dark and light enough to be read: 4.5 to 1 on either background.
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
    )


def word_of(model: Model) -> str:
    """Return what a source domain has of its own in the model: a mask, a head, or nothing."""
    return "" if not model.has_votes else "mask" if model.method.has_masks() else "head"


def build_page(model: Model, examples: Examples, ensemble: str = PREDICTIONS, where: str = "this machine") -> gr.Blocks:
    """Return the page for a model.

    - ``ensemble``: chosen at first
    - ``where``: the machine that images are sent to
    """
    word = word_of(model)
    asking = _Asking(model, examples, word)
    choices = [(_sentence(markup.ensemble_title(name, word)), name) for name in model.ensembles]
    choose = gr.Radio if len(choices) <= _FEW else gr.Dropdown
    title = f"{model.method.name} on {model.backbone}"
    with gr.Blocks(analytics_enabled=False, title=f"Try {title} · Domain Masks") as page:
        asked = gr.State(None)
        _html(_introduction(model, title))
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300):
                dropped = gr.File(label="Your image", file_count="single", height=150, elem_id="dmg-file")
                _html(_promise(where))
                offered = _html(
                    _offered(examples, model.preprocessing.value_range), js_on_load=_ON_CLICK, elem_id="dmg-examples"
                )
                chosen = choose(
                    choices, value=ensemble, label="Ensemble", info="How the answer is made.", elem_id="dmg-ensemble"
                )
            with gr.Column(scale=7, min_width=300, elem_id="dmg-answer"):
                with gr.Row():
                    with gr.Column(scale=2, min_width=150):
                        seen = _html("")
                    with gr.Column(scale=5, min_width=240):
                        said = _html(_EMPTY)
                compared = _html("")
        _html(markup.sites(site_agreements(model.method.mask_logits(), model.sources), model.sources))
        outputs: list[Any] = [asked, seen, said, compared]
        options: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        upload = dropped.upload(asking.about_file, [dropped, chosen], [dropped, *outputs], **options)
        click = offered.click(asking.about_example, [chosen], outputs, **options)
        for event in (upload, click):
            event.then(None, js=_SHOW_ANSWER, api_visibility="private")
        chosen.change(asking.again, [asked, chosen], [said, compared], **options)
    return page


def _html(content: str, **options: Any) -> gr.HTML:
    return gr.HTML(content, apply_default_css=False, **options)


class _Asking:
    """What is done on an upload, on a click on an example, and when another ensemble is chosen."""

    def __init__(self, model: Model, examples: Examples, word: str) -> None:
        self._model = model
        self._examples = examples.images
        self._word = word

    def about_file(self, path: str | None, ensemble: str) -> tuple[Any, ...]:
        """Answer about an uploaded file, which is removed whatever comes of it; the field is free for the next one."""
        if path is None:
            return None, None, "", _EMPTY, ""
        place = Path(path)
        try:
            return None, *self._about(lambda: place, place.name, None, ensemble)
        finally:
            place.unlink(missing_ok=True)
            with suppress(OSError):
                place.parent.rmdir()

    def about_example(self, ensemble: str, event: gr.EventData) -> tuple[Any, ...]:
        """Answer about the example whose button was clicked."""
        example = self._examples[int(event.index)]
        return self._about(example.open, example.name, example.label, ensemble)

    def again(self, asked: Answer | None, ensemble: str) -> tuple[str, str]:
        """Show the last answer under another ensemble; the image is not needed again."""
        if asked is None:
            return _EMPTY, ""
        try:
            return self._shown(asked, ensemble)
        except InputError as error:
            return markup.problem(str(error)), ""

    def _about(
        self, open_it: Callable[[], ImageInput], name: str, label: str | None, ensemble: str
    ) -> tuple[Answer | None, str, str, str]:
        try:
            seen = markup.image_figure(image_of(open_it, name, self._model.preprocessing.value_range), name)
            asked = answer(self._model, open_it(), name, label)
            return asked, seen, *self._shown(asked, ensemble)
        except InputError as error:
            return None, "", markup.problem(str(error)), ""

    def _shown(self, asked: Answer, ensemble: str) -> tuple[str, str]:
        found = shown(asked, ensemble, self._model.classes, self._model.sources)
        what = replace(found, about_nearest=_sentence(f"{self._model.about_nearest()}."))
        return markup.result(what, self._word), markup.comparison(what, self._model.sources, self._word)


def _introduction(model: Model, title: str) -> str:
    facts = {"Source domains": markup.listed(model.sources)}
    if model.targets:
        facts["Held out"] = markup.listed(model.targets)
    accuracies = model.card.accuracies
    for name, said in (("out_of_domain", "Accuracy out of domain"), ("in_domain", "In domain")):
        if name in accuracies:
            facts[said] = markup.percent(accuracies[name].accuracy)
    facts["Images"] = f"{model.preprocessing.size} × {model.preprocessing.size} pixels"
    learned = f"Trained on {model.card.dataset}." if model.card.dataset else ""
    return markup.introduction(f"Try {title}", learned, facts, model.classes)


def _promise(where: str) -> str:
    kept = f"Read on {where} and removed once it is answered: no image is kept or passed on."
    return f'<p class="dmg-note">{markup.text(kept)}</p>'


def _offered(examples: Examples, value_range: tuple[float, float] | None) -> str:
    thumbnails = [image_of(example.open, example.name, value_range) for example in examples.images]
    buttons = markup.example_buttons(examples.images, thumbnails)
    return f'<p class="dmg-title">{markup.text(examples.title)}</p>{buttons}'


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
