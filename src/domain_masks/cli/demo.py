"""``dmg demo``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.cli.flags import (
    Parser,
    add_config,
    add_output,
    completed_by,
    own_settings,
    parser_for,
    reporter_for,
    say,
)
from domain_masks.cli.interruption import resumable
from domain_masks.errors import InputError

if TYPE_CHECKING:
    import socket

    from domain_masks.deploy.demo.demo_settings import DemoSettings
    from domain_masks.progress import Reporter


def parser() -> Parser:
    """Return the parser of ``dmg demo``."""
    parser = parser_for(
        "demo",
        "Shows a page on which to try a model: drop an image or take an example, see the classes, the vote of each source "
        "domain's mask, the nearest source, and where the masks agree and differ. It is for the browser of this machine "
        "alone unless --host says otherwise, needs no internet, and keeps no image. Ctrl-C ends it.",
        """
        dmg demo runs/sketch
        dmg demo runs/sketch --examples photos/ --port 0
        dmg demo runs/sketch --root /data --ensemble masks
        dmg demo hf:owner/name --host 0.0.0.0      # for everybody who reaches this machine
        """,
    )
    model = parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a run folder, model.safetensors, or a name on the hub: hf:owner/name"
    )
    completed_by(model, folders=True)
    examples = parser.add_argument(
        "--examples",
        metavar="PATH",
        nargs="+",
        help="files, folders or patterns with images to offer (default: held-out images of the run's dataset, else "
        "digits)",
    )
    completed_by(examples, files=True)
    root = parser.add_argument("--root", metavar="DIR", help="where the run's dataset lies now, for the examples")
    completed_by(root, folders=True)
    ensemble = parser.add_argument(
        "--ensemble",
        metavar="predictions|masks|weighted|known:DOMAIN",
        help="how masks are combined at first; the page lets one choose (default: predictions)",
    )
    completed_by(ensemble, words=("weighted",))
    parser.add_argument(
        "--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1, this machine alone)"
    )
    parser.add_argument("--port", metavar="N", help="port to listen on, 0 for a free one (default: 7860)")
    device = parser.add_argument("--device", metavar="auto|cpu|cuda", help="where to compute (default: auto)")
    completed_by(device, words=("auto", "cpu", "cuda"))
    add_output(parser)
    add_config(parser, "settings in YAML, by the names above (model, examples, port, ...); flags win over it")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Show a page until it is interrupted."""
    flags, mistakes = parser().parse_and_note(arguments)

    from domain_masks.deploy.demo.demo_settings import check_demo  # noqa: PLC0415

    settings = check_demo(own_settings(flags), mistakes)

    from domain_masks.deploy.demo.serving import listening, require_gradio  # noqa: PLC0415
    from domain_masks.deploy.predicting.locating import locate  # noqa: PLC0415

    require_gradio()
    folder = locate(settings.model)
    if settings.root is not None and not settings.root.is_dir():
        raise InputError(f"root: expected the folder where the run's dataset lies, got {str(settings.root)!r}")
    reporter = reporter_for(flags)
    # Before the model is loaded, which takes a while: a port that is taken is known at once.
    with resumable("The page is closed"), listening(settings.host, settings.port) as opened:
        _serve(settings, folder, opened, reporter)
    return 0


def _serve(settings: DemoSettings, folder: Path, opened: socket.socket, reporter: Reporter) -> None:
    from domain_masks.deploy import load  # noqa: PLC0415
    from domain_masks.deploy.demo import find_examples  # noqa: PLC0415
    from domain_masks.deploy.demo.serving import address_of, is_loopback, page_server  # noqa: PLC0415

    model = load(folder, device=settings.device)
    model.check_ensemble(settings.ensemble)
    examples = find_examples(model, settings.examples, folder, settings.root)
    for note in examples.notes:
        reporter.say(note)
    if not is_loopback(opened):
        reporter.say("everybody who reaches this machine can use the page: leave out --host to keep it to this machine")

    def ready() -> None:
        say(address_of(opened))
        reporter.say("open this address in a browser; Ctrl-C ends the page")

    with page_server(model, examples, settings.ensemble, opened, ready) as server:
        server.run(sockets=[opened])
