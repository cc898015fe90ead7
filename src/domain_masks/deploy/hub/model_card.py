"""The model card of a trained model: Markdown generated from ``model.json`` alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from domain_masks.records.counts import counted
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, MASK_ENSEMBLE, PREDICTION_ENSEMBLE
from domain_masks.records.model_card import CardTraining, ModelCard
from domain_masks.records.pairs import pair_title
from domain_masks.records.yaml_files import to_yaml

_LISTED = 50
_MEASURES = {
    "out_of_domain": "out of domain (held-out domains, prediction ensemble)",
    "in_domain": "in domain (source domains, prediction ensemble)",
    "known_domain": "known domain (source domains, each under its own mask or head)",
}
_ENSEMBLES = {
    PREDICTION_ENSEMBLE: "the prediction for an unknown domain; with masks or heads, the average of theirs",
    MASK_ENSEMBLE: "one pass under the average of the masks",
    "weighted": "the masks' predictions, weighted by a domain classifier's probabilities",
}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!$&])")


def model_card(
    card: ModelCard,
    ensembles: Sequence[str],
    repo_id: str | None = None,
    figures: Mapping[str, str] | None = None,
) -> str:
    """Return the model card as Markdown with YAML in front.

    Sections: training data, accuracies with the split they were measured on, overlap of the masks, ensembles, usage and
    limitations. No licence is stated, since a run does not record one.

    - ``card``: the content of ``model.json``
    - ``ensembles``: the model's ensembles
    - ``repo_id``: ``owner/name`` on the Hub, for the title and the usage example
    - ``figures``: path in the repository -> title, of figures that are shown
    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only needed to publish
    from markupsafe import Markup  # noqa: PLC0415

    def code(text: str) -> Markup:
        """Return text for use between backticks, where Markdown needs no escaping."""
        return Markup(" ".join(text.replace("`", "'").split()))

    def escaped(value: object) -> object:
        return "" if value is None else _plain(value) if isinstance(value, str) and type(value) is str else value

    environment = Environment(
        finalize=escaped, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"counted": counted, "code": code, "shortened": _shortened, "each": _each}
    template = environment.from_string(files(__package__).joinpath("model_card.md").read_text(encoding="utf-8"))
    method = card.method.name
    front = {
        "library_name": "domain-masks",
        "pipeline_tag": "image-classification",
        "tags": list(dict.fromkeys(["domain-masks", "domain-generalization", "image-classification", method])),
        **({"metrics": ["accuracy"]} if card.accuracies else {}),
    }
    return template.render(
        card=card,
        front=Markup(to_yaml(front)),
        title=repo_id.rpartition("/")[2] if repo_id else f"{method} on {card.dataset or 'several domains'}",
        training=_training(card),
        measures=_MEASURES,
        by_ensemble=[
            (name, ensemble, value)
            for name, measured in card.accuracies.items()
            for ensemble, value in measured.by_ensemble.items()
        ],
        pairs={
            site: {pair_title(pair, card.sources): value for pair, value in masks.pairwise_iou.items()}
            for site, masks in card.masks.items()
        },
        ensembles={name: _described(name) for name in ensembles},
        repo_id=repo_id,
        figures=figures or {},
    )


def _training(card: ModelCard) -> dict[str, Any]:
    training = card.training or CardTraining()
    preprocessing = card.preprocessing or {}
    fitted = ", squashed to a square" if preprocessing.get("square") else ", centre crop" if preprocessing else ""
    return {
        "dataset": card.dataset,
        "source domains": _shortened(card.sources),
        "domains seen in the runs that it was initialised from": _shortened(
            [name for name in card.seen_domains if name not in card.sources]
        ),
        "held-out domains": _shortened(card.targets) or "none",
        "classes": _shortened(card.classes),
        "training images": training.images,
        "epochs": training.epochs_run,
        "weights": training.average.in_words() if training.average is not None else None,
        "initial weights": training.weights,
        "seed": training.seed,
        "method's settings": ", ".join(f"{key}={value}" for key, value in card.method.settings.items()),
        ("masked upper layers from" if card.masks else "upper layers from"): card.boundary,
        ("mask sites" if card.masks else "sites"): _shortened([site.name for site in card.sites]),
        "images": f"{card.image_size} x {card.image_size} pixels{fitted}",
        "domain-masks": card.version,
    }


def _described(ensemble: str) -> str:
    if ensemble.startswith(KNOWN_DOMAIN):
        return f"the mask or head of {ensemble.removeprefix(KNOWN_DOMAIN)} alone"
    return _ENSEMBLES.get(ensemble, "see the method")


def _each(values: Mapping[str, float], form: str, scale: float = 1) -> str:
    return ", ".join(form.format(name, scale * value) for name, value in values.items())


def _shortened(names: Sequence[str]) -> str:
    more = f", ... ({len(names) - _LISTED} more)" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _plain(text: str) -> str:
    """Return text on one line, escaped for Markdown and HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
