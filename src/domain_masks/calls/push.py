"""``dm.push``, and what ``dmg push`` does before it prints."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Unpack

from domain_masks.calls.described import read_keywords, with_settings_of
from domain_masks.calls.typed_keywords import PushKeywords
from domain_masks.keywords import named_keywords
from domain_masks.records.notebook_html import html_block, html_lines, html_table
from domain_masks.settings.push import PushSettings

if TYPE_CHECKING:
    from domain_masks.deploy import Model
    from domain_masks.progress import Reporter


@dataclass(frozen=True)
class Pushed:
    """A model on the Hub, or with ``dry_run`` what would be uploaded.

    - ``name``: ``owner/name``; ``url``: address of the commit, None for a dry run
    - ``files``: name in the repository -> size in bytes
    - ``readme``: the model card, in Markdown
    """

    name: str
    url: str | None
    files: dict[str, int]
    readme: str = field(repr=False)

    def _repr_html_(self) -> str:
        title = self.url or f"{self.name}: nothing was uploaded (dry_run)"
        rows = [(name, f"{size:,}") for name, size in self.files.items()]
        return html_block(title, html_table(("file", "bytes"), rows), html_lines([f"model: hf:{self.name}"]))


@with_settings_of(PushKeywords, PushSettings)
@named_keywords
def push(
    model: str | os.PathLike[str] | Model,
    name: str,
    *,
    token: str | None = None,
    quiet: bool = False,
    **settings: Unpack[PushKeywords],
) -> Pushed:
    """Upload a model to the Hugging Face Hub in one commit, as ``dmg push`` does: its two files, a model card and figures.

    - ``model``: a model, a run, its folder, or ``model.safetensors``; a model in memory has no figures
    - ``name``: ``owner/name``, created if there is none, privately unless ``public=True``; its README.md is replaced
    - ``token``: with write access; by default ``HF_TOKEN``, or the one that ``hf auth login`` stored
    - ``quiet``: whether nothing is printed

    Returns the address of the commit, the files with their sizes and the model card; with ``dry_run=True`` nothing is sent.

    Raises InputError where the library is not installed, there is no model or the name is not valid, DownloadError where
    the Hub cannot be reached or refuses the request.
    """
    from domain_masks.deploy import Model  # noqa: PLC0415
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    given = {"model": "a model" if isinstance(model, Model) else model, "name": name, **settings}
    checked = read_keywords(PushSettings, given)
    if not isinstance(model, Model):
        return pushed(checked, ConsoleReporter(quiet), token)
    with TemporaryDirectory() as folder:
        model.save(folder)
        alone = checked.model_copy(update={"model": folder, "figures": False})
        return pushed(alone, ConsoleReporter(quiet), token)


def pushed(settings: PushSettings, reporter: Reporter, token: str | None = None) -> Pushed:
    """Upload a model, or with ``dry_run`` only compose what would be uploaded."""
    from domain_masks.deploy.hub.client import hub_library  # noqa: PLC0415
    from domain_masks.deploy.predicting.locating import locate  # noqa: PLC0415

    hub_library()
    folder = locate(settings.model, token)

    from domain_masks.deploy.hub.publishing import publication  # noqa: PLC0415

    content = publication(folder, settings.name, settings.figures)
    if settings.figures and not content.figures:
        reporter.say("there are no figures to upload: `dmg analyze RUN` draws them")
    url = None if settings.dry_run else content.upload(private=not settings.public, token=token)
    return Pushed(settings.name, url, content.sizes, content.readme)
