"""``dmg demo``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.cli.flags import command_parser, read_command, reporter_for
from domain_masks.cli.interruption import resumable
from domain_masks.cli.parser import Parser
from domain_masks.cli.standard_output import say
from domain_masks.errors import InputError
from domain_masks.settings.demo import DemoSettings

if TYPE_CHECKING:
    import socket

    from domain_masks.progress import Reporter


def parser() -> Parser:
    """Return the parser of ``dmg demo``."""
    return command_parser(
        "demo",
        "Serves a page on which to try a model: drop an image or take an example, and see the classes, the vote of each source "
        "domain's mask, the nearest source, and where the masks agree and differ. Only the browser of this machine can open it "
        "unless --host says otherwise; it needs no internet and stores no image. Ctrl-C ends it.",
        """
        dmg demo runs/sketch
        dmg demo runs/sketch --examples photos/ --port 0
        dmg demo runs/sketch --root /data --ensemble masks
        dmg demo runs/sketch --tta flips           # mean of an image and its mirror image
        dmg demo hf:owner/name --host 0.0.0.0      # for everybody who can reach this machine
        """,
        DemoSettings,
    )


def main(arguments: Sequence[str]) -> int:
    """Serve a page until it is interrupted."""
    flags, settings = read_command(parser(), arguments, DemoSettings)

    from domain_masks.deploy.demo.serving import listening, require_gradio  # noqa: PLC0415
    from domain_masks.deploy.predicting.locating import locate  # noqa: PLC0415

    require_gradio()
    folder = locate(settings.model)
    if settings.root is not None and not settings.root.is_dir():
        raise InputError(f"root: expected the folder where the run's dataset lies, got {str(settings.root)!r}")
    reporter = reporter_for(flags)
    # Before the model is loaded, which takes a while, so that a port in use is reported immediately.
    with resumable("The page is closed"), listening(settings.host, settings.port) as opened:
        _serve(settings, folder, opened, reporter)
    return 0


def _serve(settings: DemoSettings, folder: Path, opened: socket.socket, reporter: Reporter) -> None:
    from domain_masks.deploy import load  # noqa: PLC0415
    from domain_masks.deploy.demo.examples import find_examples  # noqa: PLC0415
    from domain_masks.deploy.demo.serving import address_of, is_loopback, page_server  # noqa: PLC0415

    model = load(folder, device=settings.device)
    model.check_ensemble(settings.ensemble)
    examples = find_examples(model, list(settings.examples), folder, settings.root)
    for note in examples.notes:
        reporter.say(note)
    if settings.test_time is not None:
        reporter.say(f"test time: {settings.test_time.in_words()}; probabilities are not calibrated")
    if not is_loopback(opened):
        reporter.say(
            "everybody who can reach this machine can use the page: leave out --host to serve this machine only"
        )

    def ready() -> None:
        say(address_of(opened))
        reporter.say("open this address in a browser; Ctrl-C ends the page")

    with page_server(model, examples, settings.ensemble, opened, ready, settings.test_time) as server:
        server.run(sockets=[opened])
