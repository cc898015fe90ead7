"""The entry point: finds the verb, and turns every end into an exit status."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

from domain_masks.errors import DomainMasksError, nearest

VERBS = {
    "train": "one run: one method, held-out domain(s), one seed",
    "benchmark": "leave one domain out over methods, targets and seeds; skips what is done",
    "evaluate": "all accuracies of a run again, from its checkpoint",
    "data": "what datasets there are, and what is wrong with one",
    "methods": "the algorithms, their papers, their settings",
}


class Terminated(BaseException):
    """SIGTERM came."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``dmg``; returns the exit status.

    0 done; 1 finished, but something failed, which is listed; 2 misuse or bad input, one message; 130 and 143 interrupted;
    70 a bug of ours, with traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _dispatch(words)
    except DomainMasksError as error:
        return _complain(str(error), error.exit_status)
    except KeyboardInterrupt:
        return _complain(_go_on(words), 130)
    except Terminated:
        return _complain(_go_on(words), 143)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        traceback.print_exc()
        return _complain("this is a bug of domain-masks; please report it with the lines above", 70)
    finally:
        signal.signal(signal.SIGTERM, before)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage())
        return 0
    if words[0] in ("-V", "--version"):
        from domain_masks import __version__  # noqa: PLC0415

        sys.stdout.write(f"domain-masks {__version__}\n")
        return 0
    verb = words[0]
    if verb not in VERBS:
        guess = nearest(verb, VERBS)
        hint = f" Did you mean `dmg {guess}`?" if guess else ""
        return _complain(f"unknown verb {verb!r}: expected one of {', '.join(VERBS)}.{hint}", 2)
    module = importlib.import_module(f"domain_masks.cli.{verb}")
    try:
        status: int = module.main(words[1:])
    except SystemExit as end:
        # argparse ends the program after --help.
        return end.code if isinstance(end.code, int) else 0
    return status


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {text}" for name, text in VERBS.items())
    return (
        "usage: dmg VERB [...]\n\n"
        "Train image classifiers on several source domains with learned domain-specific masks (DMG) or a\n"
        "baseline, and measure them out of domain, in domain and with known domain.\n\n"
        f"{verbs}\n\n"
        "`dmg VERB --help` tells the flags of a verb. `dmg train` alone trains DMG on the embedded digits.\n"
    )


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"dmg: {message}\n")
    return status


def _go_on(words: list[str]) -> str:
    if words[:1] == ["train"]:
        return "interrupted; the last whole epoch is kept. Go on with the same command and --resume"
    if words[:1] == ["benchmark"]:
        return "interrupted; what is done is kept. Go on with the same command"
    return "interrupted"


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated
