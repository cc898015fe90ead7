"""``dmg push``."""

from __future__ import annotations

from collections.abc import Sequence

from domain_masks.cli.flags import command_parser, read_command, reporter_for
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.settings.push import PushSettings


def parser() -> Parser:
    """Return the parser of ``dmg push``."""
    return command_parser(
        "push",
        "Uploads a trained model to the Hugging Face Hub in one commit: its two files, a model card with accuracies, overlap "
        "and limitations, and the figures of `dmg analyze` that show no images of the dataset. A repository that is created is "
        "private unless --public is given. Log in first with `hf auth login`, or set HF_TOKEN.",
        """
        dmg push runs/sketch someone/sketches --dry_run    # what would be uploaded
        dmg push runs/sketch someone/sketches
        dmg push runs/sketch someone/sketches --public
        """,
        PushSettings,
    )


def main(arguments: Sequence[str]) -> int:
    """Upload a model, or with ``--dry_run`` print what would be uploaded."""
    flags, settings = read_command(parser(), arguments, PushSettings)

    from domain_masks.deploy.hub.client import hub_library  # noqa: PLC0415
    from domain_masks.deploy.predicting.locating import locate  # noqa: PLC0415

    hub_library()
    folder = locate(settings.model)

    from domain_masks.deploy.hub.publishing import publication  # noqa: PLC0415

    reporter = reporter_for(flags)
    content = publication(folder, settings.name, settings.figures)
    if settings.figures and not content.figures:
        reporter.say("there are no figures to upload: `dmg analyze RUN` draws them")
    if settings.dry_run:
        for name, size in content.sizes.items():
            say(f"{size:>13,} bytes  {name}")
        visibility = "public" if settings.public else "private"
        say(
            f"{sum(content.sizes.values()):>13,} bytes  to {settings.name}, {visibility} if it is created. The model card:"
        )
        say("")
        say(content.readme)
        return 0
    say(content.upload(private=not settings.public))
    return 0
