"""HTML for the parts of the page that gradio has no component for, from ``page.html``; self-contained."""

from __future__ import annotations

import base64
import html
import io
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from domain_masks.records.counts import counted, listed
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, MASK_ENSEMBLE, PREDICTION_ENSEMBLE, WEIGHTED_ENSEMBLE

COLOURS = 8
"""Number of colours for source domains in the style sheet; with more domains they repeat."""
_SMALL = 64


@cache
def parts() -> Any:
    """Return the macros of ``page.html``, each of which renders a part of the page."""
    environment = Environment(autoescape=True, finalize=_escaped, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"percent": percent, "listed": listed, "counted": counted}
    environment.globals["colours"] = COLOURS
    return environment.from_string(files(__package__).joinpath("page.html").read_text(encoding="utf-8")).module


def _escaped(value: object) -> object:
    return value if isinstance(value, Markup) else escaped(str(value))


def escaped(text: str) -> Markup:
    """Return text escaped for HTML, and for the templates of gradio and JavaScript."""
    safe = html.escape(text).replace("{", "&#123;").replace("}", "&#125;").replace("$", "&#36;").replace("`", "&#96;")
    return Markup(safe)


def percent(value: float) -> str:
    """Return a fraction in [0, 1] as a percentage, never rounded to 0 or 100 % unless it is exact."""
    if 0 < value < 0.001:
        return "< 0.1 %"
    if 0.999 < value < 1:
        return "> 99.9 %"
    return f"{100 * value:.1f} %"


def ensemble_title(name: str, word: str = "mask") -> str:
    """Return the title of an ensemble; ``word`` is what each source has: "mask", "head", or "" for neither."""
    if name.startswith(KNOWN_DOMAIN):
        return f"Only the {word} of {name.removeprefix(KNOWN_DOMAIN)}"
    known = {
        PREDICTION_ENSEMBLE: f"All {word}s, predictions averaged" if word else "The model's prediction",
        MASK_ENSEMBLE: "Average mask, one forward pass",
        WEIGHTED_ENSEMBLE: f"All {word}s, weighted by a domain classifier",
    }
    return known.get(name, name)


def figure(image: Image.Image, name: str) -> str:
    """Return HTML with the embedded image and its name; small images are embedded losslessly."""
    is_small = max(image.size) <= _SMALL
    stream = io.BytesIO()
    image.save(stream, "PNG" if is_small else "JPEG", quality=88)
    address = data_address(stream.getvalue(), f"image/{'png' if is_small else 'jpeg'}")
    return str(parts().image(address, name, is_small))


def data_address(content: bytes, kind: str) -> str:
    """Return a data URL, which needs no file on the server; ``kind``: such as "text/csv"."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
