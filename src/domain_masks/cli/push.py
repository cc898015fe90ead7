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

    from domain_masks.calls.push import pushed  # noqa: PLC0415

    done = pushed(settings, reporter_for(flags))
    if done.url is not None:
        say(done.url)
        return 0
    for name, size in done.files.items():
        say(f"{size:>13,} bytes  {name}")
    visibility = "public" if settings.public else "private"
    say(f"{sum(done.files.values()):>13,} bytes  to {done.name}, {visibility} if it is created. The model card:")
    say("")
    say(done.readme)
    return 0
