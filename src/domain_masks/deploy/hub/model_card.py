"""The model card of a trained model: Markdown from what ``model.json`` holds, and nothing that it does not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
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
    PREDICTION_ENSEMBLE: "the prediction where the domain is not known; with masks or heads, their average",
    MASK_ENSEMBLE: "one pass under the average of the masks",
    "weighted": "the masks' predictions, weighted by a domain classifier's probabilities",
}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!$&])")


def model_card(card: ModelCard, ensembles: Sequence[str], repo_id: str | None = None) -> str:
    """Return the model card as Markdown with YAML in front.

    What it was trained on, accuracies by protocol with the split they were measured on, overlap of the masks, ensembles, how
    to load it, limits. A licence is not stated: nothing in a run says it.

    - ``card``: what ``model.json`` holds
    - ``ensembles``: the names of the predictions that the model has
    - ``repo_id``: ``owner/name`` on the hub, for the title and the lines that load it
    """
    method = card.method.name
    front = {
        "library_name": "domain-masks",
        "pipeline_tag": "image-classification",
        "tags": list(dict.fromkeys(["domain-masks", "domain-generalization", "image-classification", method])),
        **({"metrics": ["accuracy"]} if card.accuracies else {}),
    }
    title = repo_id.rpartition("/")[2] if repo_id else f"{method} on {card.dataset or 'several domains'}"
    parts = [
        f"---\n{to_yaml(front)}---",
        f"# {_plain(title)}",
        _summary(card),
        _section("What it was trained on", _training(card)),
        _section("Accuracy", _accuracy(card)),
        _section("Overlap of the masks", _masks(card)),
        _section("Ensembles", _ensembles(ensembles)),
        _section("How to use it", _use(card, repo_id)),
        _section("Limits", _limits(card)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, lines: Iterable[str]) -> str:
    content = "\n".join(lines).strip()
    return f"## {title}\n\n{content}" if content else ""


def _summary(card: ModelCard) -> str:
    return (
        f"An image classifier for {counted(len(card.classes), 'class', 'classes')}, trained on "
        f"{counted(len(card.sources), 'source domain')} by the method {_plain(card.method.name)} on the network "
        f"{_plain(card.backbone)}, to be used on domains that it has not seen."
    )


def _training(card: ModelCard) -> Iterator[str]:
    training = card.training or CardTraining()
    preprocessing = card.preprocessing or {}
    sources, earlier = card.sources, [name for name in card.seen_domains if name not in card.sources]
    rows: dict[str, Any] = {
        "dataset": card.dataset,
        "source domains": _names(sources),
        "domains seen in earlier runs that this one started from": _names(earlier),
        "held-out domains": _names(card.targets) or "none",
        "classes": _names(card.classes),
        "training images": training.images,
        "epochs": training.epochs_run,
        "weights": training.average.in_words() if training.average is not None else None,
        "initial weights": training.weights,
        "seed": training.seed,
        "method's settings": ", ".join(f"{key}={value}" for key, value in card.method.settings.items()),
        "task network from": card.boundary,
        ("mask sites" if card.masks else "sites"): _names([site.name for site in card.sites]),
        "images": f"{card.image_size} x {card.image_size} pixels"
        + (
            ", squashed to a square" if preprocessing.get("square") else ", the centre cut out" if preprocessing else ""
        ),
        "domain-masks": card.version,
    }
    yield from _table(("", ""), ((name, value) for name, value in rows.items() if value not in (None, "")))


def _accuracy(card: ModelCard) -> Iterator[str]:
    accuracies = card.accuracies
    if not accuracies:
        return
    yield "In percent, unweighted means over domains; *split* says which images were measured."
    yield ""
    rows = []
    for name, numbers in accuracies.items():
        domains = ", ".join(f"{domain} {100 * value:.2f}" for domain, value in numbers.per_domain.items())
        title = _MEASURES.get(name, name.replace("_", " "))
        rows.append(
            (
                title,
                numbers.split,
                f"{100 * numbers.accuracy:.2f}",
                domains,
                "" if numbers.count is None else numbers.count,
            )
        )
    yield from _table(("protocol", "split", "accuracy", "per domain", "images"), rows)
    by_ensemble = [
        (name.replace("_", " "), ensemble, f"{100 * value:.2f}")
        for name, numbers in accuracies.items()
        for ensemble, value in numbers.by_ensemble.items()
    ]
    if by_ensemble:
        yield ""
        yield from _table(("protocol", "ensemble", "accuracy"), by_ensemble)
    if protocol := card.protocol:
        used = "were used" if protocol.target_labels_used else "were not used"
        yield ""
        yield (
            f"The epoch was chosen by {_plain(protocol.selection)}. Labels of held-out domains {used} for training or "
            "selection."
        )


def _masks(card: ModelCard) -> Iterator[str]:
    if not card.masks:
        return
    yield (
        "Of the hard masks (probability above 0.5): intersection over union, the mean over pairs of source domains, and the "
        "share of neurons that are on."
    )
    yield ""
    rows = []
    for site, numbers in card.masks.items():
        overall = numbers.overall_iou
        known = numbers.pairwise_iou.items()
        pairs = ", ".join(f"{pair_title(pair, card.sources)} {value:.3f}" for pair, value in known)
        shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in numbers.activated.items())
        rows.append((site, "" if overall is None else f"{overall:.3f}", pairs, shares))
    yield from _table(("site", "IoU", "pairs", "on"), rows)


def _ensembles(ensembles: Sequence[str]) -> Iterator[str]:
    for name in ensembles:
        domain = name.removeprefix(KNOWN_DOMAIN)
        own = f"everything under the mask or head of {domain} alone" if domain != name else ""
        yield f"- `{_code(name)}`: {_plain(_ENSEMBLES.get(name, own) or 'see the method')}"


def _use(card: ModelCard, repo_id: str | None) -> Iterator[str]:
    place = repo_id or "FOLDER"
    yield "```sh"
    yield "pip install 'domain-masks[hub]'"
    yield f"dmg predict {'hf:' if repo_id else ''}{place} photos/ --out votes.csv"
    yield "```"
    yield ""
    yield "```python"
    yield "import domain_masks as dm"
    yield ""
    yield f'model = dm.load("{place}")'
    yield 'model.predict(["a.jpg"])[0].class_name'
    yield "```"
    yield ""
    yield (
        "Images of any size and mode are prepared as in training; they are not to be normalised. The files are "
        "`model.safetensors` and `model.json`, and hold nothing that can run code."
    )


def _limits(card: ModelCard) -> Iterator[str]:
    targets = card.targets
    yield f"- It knows the {counted(len(card.classes), 'class', 'classes')} above and always answers with one of them."
    if targets:
        yield (
            f"- The accuracy out of domain was measured on {_plain(_names(targets))}; on other domains it can be higher or "
            "lower."
        )
    else:
        yield "- No domain was held out: nothing here says how good it is on domains that it has not seen."
    yield "- Probabilities are those of a softmax and were not calibrated."
    nearest = card.nearest_source
    if nearest is not None:
        yield (
            f"- The nearest source is found by the {_plain(nearest.by)}, which is right on {100 * nearest.accuracy:.1f} % of "
            f"the sources' own {_plain(nearest.split)} images."
        )
    elif len(card.sources) > 1:
        yield "- How often the nearest source is right was not measured."
    yield (
        "- No licence is stated here: whoever publishes the model adds one that its training images and initial weights "
        "allow."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    lines = [f"| {' | '.join(_plain(str(cell)) for cell in row)} |" for row in rows]
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from lines


def _names(names: Sequence[str]) -> str:
    more = f", ... ({len(names) - _LISTED} more)" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _plain(text: str) -> str:
    """Return text that Markdown and HTML show as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
