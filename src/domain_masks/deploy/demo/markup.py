"""What the page shows, as HTML that needs nothing from elsewhere: no script, no font, no image that is not in it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence

from PIL import Image

from domain_masks.deploy.demo.agreement import SiteAgreement
from domain_masks.deploy.demo.answers import Shown
from domain_masks.deploy.demo.examples import Example
from domain_masks.deploy.predicting.prediction import Guess
from domain_masks.records.counts import counted
from domain_masks.records.ensemble_names import KNOWN_DOMAIN

COLOURS = 8
"""Colours of source domains in the style sheet; more domains begin again."""
_THUMBNAIL = 192


def text(value: str) -> str:
    """Return text for HTML, safe also where a template of gradio's or of JavaScript's is filled with it."""
    return html.escape(value).replace("{", "&#123;").replace("}", "&#125;").replace("$", "&#36;").replace("`", "&#96;")


def percent(value: float) -> str:
    """Return a share in [0, 1] in per cent, never rounded up to certainty or down to impossibility."""
    if 0 < value < 0.001:
        return "< 0.1 %"
    if 0.999 < value < 1:
        return "> 99.9 %"
    return f"{100 * value:.1f} %"


def listed(names: Sequence[str]) -> str:
    """Return names as in a sentence: "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def ensemble_title(name: str, word: str = "mask") -> str:
    """Return what an ensemble is, for people; ``word`` is what a source has of its own: a mask or a head."""
    if name.startswith(KNOWN_DOMAIN):
        return f"the {word} of {name.removeprefix(KNOWN_DOMAIN)} alone"
    known = {
        "predictions": f"all {word}s, predictions averaged" if word else "the model's prediction",
        "masks": "one pass under the average mask",
        "weighted": f"all {word}s, weighted by a domain classifier",
    }
    return known.get(name, name)


def data_address(image: Image.Image, side: int | None = None) -> str:
    """Return an image as a ``data:`` address, at most ``side`` pixels wide and high; small ones are kept exactly."""
    if side is not None:
        image = image.copy()
        image.thumbnail((side, side))
    exact = max(image.size) <= 64
    stream = io.BytesIO()
    image.save(stream, "PNG" if exact else "JPEG", quality=88)
    return f"data:image/{'png' if exact else 'jpeg'};base64,{base64.b64encode(stream.getvalue()).decode()}"


def problem(message: str) -> str:
    """Return a message that says why there is no answer."""
    return f'<div class="dmg-problem" role="alert"><strong>No answer.</strong> {text(message)}</div>'


def image_figure(image: Image.Image, name: str) -> str:
    """Return the image that was asked about, with its name."""
    small = " dmg-pixels" if max(image.size) <= 64 else ""
    return (
        f'<figure class="dmg-image{small}"><img src="{data_address(image)}" alt="The image {text(name)}">'
        f"<figcaption>{text(name).replace('/', '/<wbr>')}</figcaption></figure>"
    )


def example_buttons(examples: Iterable[Example], images: Iterable[Image.Image]) -> str:
    """Return a button per example, whose ``data-index`` is its position."""
    buttons = []
    for index, (example, image) in enumerate(zip(examples, images, strict=True)):
        label = f"Example {index + 1}: {example.name}"
        small = ' class="dmg-pixels"' if max(image.size) <= 64 else ""
        buttons.append(
            f'<button type="button" data-index="{index}" title="{text(example.name)}" aria-label="{text(label)}">'
            f'<img src="{data_address(image, _THUMBNAIL)}" alt=""{small}></button>'
        )
    return f'<div class="dmg-examples">{"".join(buttons)}</div>'


def result(what: Shown, word: str) -> str:
    """Return the answer about one image: how it is made, its class, whether that is right, the most probable classes."""
    best = what.prediction.top[0]
    return (
        f'<article class="dmg-result"><p class="dmg-over">{text(ensemble_title(what.ensemble, word))}</p>'
        f'<h2 class="dmg-answer" role="status">{text(best.class_name)} <span>{percent(best.probability)}</span></h2>'
        f"{_label(what)}{_bars(what.prediction.top)}</article>"
    )


def comparison(what: Shown, sources: Sequence[str], word: str) -> str:
    """Return the vote of every mask, the nearest source, and where the masks agree and differ on the image."""
    if not what.by_source:
        return '<p class="dmg-note dmg-novotes">This method has one prediction for all domains: there are no votes.</p>'
    return (
        f'<section class="dmg-part"><h3>What each {word} says</h3>{_agreement(what, word)}{_votes(what, sources)}'
        f'{_nearest(what, len(sources), word)}</section><section class="dmg-part"><h3>Where the {word}s agree and differ '
        f"on this image</h3>{_span(what, word)}{_matrix(what, sources, word)}</section>"
    )


def _label(what: Shown) -> str:
    if what.label is None:
        return ""
    is_right = what.label == what.prediction.class_name
    mark, verdict = ("✓", "Right") if is_right else ("✗", "Wrong")
    kind = "dmg-right" if is_right else "dmg-wrong"
    return f'<p class="dmg-label {kind}"><span aria-hidden="true">{mark}</span> {verdict}: its label is {text(what.label)}</p>'


def _bars(guesses: Sequence[Guess]) -> str:
    rows = "".join(
        f'<li><span class="dmg-name">{text(guess.class_name)}</span><span class="dmg-track" aria-hidden="true">'
        f'<span style="width:{100 * guess.probability:.2f}%"></span></span>'
        f'<span class="dmg-number">{percent(guess.probability)}</span></li>'
        for guess in guesses
    )
    return f'<ol class="dmg-bars">{rows}</ol>'


def _agreement(what: Shown, word: str) -> str:
    first, *others = what.tally
    count = len(what.prediction.votes)
    if not others:
        return f"<p>All {count} {word}s vote for <strong>{text(first[0])}</strong>.</p>"
    rest = "; ".join(f"{text(listed(names))} for <strong>{text(name)}</strong>" for name, names in others)
    return f"<p>{len(first[1])} of {count} {word}s vote for <strong>{text(first[0])}</strong>, {rest}.</p>"


def _votes(what: Shown, sources: Sequence[str]) -> str:
    cards = []
    for index, source in enumerate(sources):
        vote = what.prediction.votes[source]
        differs = vote.class_name != what.prediction.class_name
        badges = '<span class="dmg-badge">nearest</span>' if source == what.prediction.nearest_source else ""
        badges += '<span class="dmg-badge dmg-differs">differs</span>' if differs else ""
        cards.append(
            f'<li class="dmg-card dmg-colour-{index % COLOURS}"><span class="dmg-domain"><i aria-hidden="true"></i>'
            f"{text(source)}</span><strong>{text(vote.class_name)}</strong><span>{percent(vote.probability)}</span>"
            f'<span class="dmg-badges">{badges}</span></li>'
        )
    return f'<ul class="dmg-cards">{"".join(cards)}</ul>'


def _nearest(what: Shown, count: int, word: str) -> str:
    prediction = what.prediction
    if prediction.nearest_source is None or prediction.nearest_weight is None:
        return ""
    source, weight = f"<strong>{text(prediction.nearest_source)}</strong>", percent(prediction.nearest_weight)
    if what.is_classified:
        said = f"Nearest source: {source}, to which the domain classifier gives {weight}."
    else:
        share = percent(1 / count)
        said = f"Nearest source: {source}, with {weight} of the {word}s' confidence; {share} would be an equal share."
    return f'<p class="dmg-note">{said} {text(what.about_nearest)}</p>'


def _span(what: Shown, word: str) -> str:
    if what.span is None:
        return ""
    low, high = what.span
    predicted = text(what.prediction.class_name)
    if percent(low) == percent(high):
        return f"<p><strong>{predicted}</strong> has {percent(low)} under every {word}.</p>"
    return f"<p><strong>{predicted}</strong> has between {percent(low)} and {percent(high)}, by {word}.</p>"


def _matrix(what: Shown, sources: Sequence[str], word: str) -> str:
    head = "".join(
        f'<th scope="col" class="dmg-colour-{index % COLOURS}"><span class="dmg-domain"><i aria-hidden="true"></i>'
        f"{text(source)}</span></th>"
        for index, source in enumerate(sources)
    )
    rows = []
    for row, name in enumerate(what.classes):
        cells = "".join(_cell(what.by_source[source][row], name, what.prediction.votes[source]) for source in sources)
        rows.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    return (
        f'<div class="dmg-scroll" tabindex="0" role="region" aria-label="Probabilities by class and {word}">'
        f'<table class="dmg-matrix"><caption class="dmg-hidden">Probability of each class under each {word}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="dmg-note">Probability of each class under each {word}; framed is its vote.</p>'
    )


def _cell(probability: float, name: str, vote: Guess) -> str:
    voted = name == vote.class_name
    kind = ' class="dmg-vote"' if voted else ""
    said = '<span class="dmg-hidden"> (vote)</span>' if voted else ""
    return f'<td{kind} style="--share:{100 * probability:.1f}%">{percent(probability)}{said}</td>'


def sites(agreements: Sequence[SiteAgreement], sources: Sequence[str]) -> str:
    """Return, for every mask site, how many neurons all masks share and how many are one domain's alone, as a figure."""
    if not agreements:
        return ""
    kinds = _kinds(sources)
    legend = "".join(f'<li class="{kind}"><i aria-hidden="true"></i>{text(title)}</li>' for title, kind in kinds)
    figures = "".join(_site(site, kinds) for site in agreements)
    head = "".join(f'<th scope="col">{text(title)}</th>' for title, _ in kinds)
    rows = "".join(
        f'<tr><th scope="row">{text(site.site)}</th><td>{site.size:,}</td>'
        + "".join(f"<td>{count:,}</td>" for count in _counts(site))
        + "</tr>"
        for site in agreements
    )
    return (
        '<section class="dmg-sites"><h2>Where the masks agree and differ in the network</h2>'
        "<p>A neuron is on for a domain where its mask keeps it with a probability above one half. This is the same for "
        f'every image.</p><ul class="dmg-legend">{legend}</ul>{figures}'
        '<details><summary>The numbers as a table</summary><div class="dmg-scroll" tabindex="0" role="region" '
        'aria-label="Neurons by mask site"><table class="dmg-numbers"><thead><tr><th scope="col">mask site</th>'
        f'<th scope="col">neurons</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></details></section>'
    )


def _kinds(sources: Sequence[str]) -> list[tuple[str, str]]:
    """Return title and class in the style sheet of every kind of neuron, in the order of :func:`_counts`."""
    own = [(f"on for {source} alone", f"dmg-colour-{index % COLOURS}") for index, source in enumerate(sources)]
    return [("on in all masks", "dmg-shared"), ("on in several", "dmg-several"), *own, ("off in all", "dmg-off")]


def _counts(site: SiteAgreement) -> list[int]:
    return [site.shared, site.several, *site.only.values(), site.off]


def _site(site: SiteAgreement, kinds: Sequence[tuple[str, str]]) -> str:
    counted = [(title, kind, count) for (title, kind), count in zip(kinds, _counts(site), strict=True) if count]
    said = ", ".join(f"{count:,} {title}" for title, _, count in counted)
    parts = "".join(
        f'<span class="{kind}" style="flex-grow:{count}" title="{count:,} {text(title)}"></span>'
        for title, kind, count in counted
    )
    alone = sum(site.only.values())
    return (
        f'<figure class="dmg-site"><figcaption><code>{text(site.site)}</code> <span>{site.size:,} neurons: '
        f"{percent(site.shared / site.size)} on in all masks, {percent(alone / site.size)} for one domain alone</span>"
        f'</figcaption><div class="dmg-stack" role="img" aria-label="{text(said)}">{parts}</div></figure>'
    )


def introduction(title: str, learned: str, facts: Mapping[str, str], classes: Sequence[str]) -> str:
    """Return the head of the page: what the model is, ``facts`` as name -> value, and its classes to unfold."""
    shown = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items())
    return (
        f'<header class="dmg-head"><h1>{text(title)}</h1><p>{text(learned)}</p><dl>{shown}</dl><details><summary>'
        f"{counted(len(classes), 'class', 'classes')}</summary><p>{text(', '.join(classes))}</p></details></header>"
    )
