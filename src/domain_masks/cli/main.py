"""The entry point: dispatches to the command, and maps every outcome to an exit status."""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from types import FrameType

from domain_masks.cli.interruption import Terminated
from domain_masks.cli.standard_output import OutputError, flush, is_lost, let_go, replace_closed, write
from domain_masks.errors import DomainMasksError, nearest
from domain_masks.torchrun import is_main_process, torchrun

COMMANDS = {
    "train": "train one method with one or several domains held out",
    "benchmark": "leave-one-domain-out over methods, targets and seeds; skips finished runs",
    "evaluate": "measure a run again, from its checkpoint",
    "analyze": "analyse what the masks learned: tables and figures",
    "report": "write a page about one or many runs, beside the paper's numbers",
    "predict": "predict files, folders and patterns; votes of the masks",
    "export": "write a file that runs without this package; fold and prune masks",
    "push": "upload a model with its card to the Hugging Face Hub",
    "demo": "try a model on a page in the browser",
    "data": "list, check and download datasets; cache what runs need of them",
    "methods": "list the algorithms, their papers and settings",
    "completion": "print the completion script of a shell",
}
VERBOSE = "--verbose"
_SHOWN = ("predict", "methods", "completion")
_SHOWN_ACTIONS = (["data", "list"], ["data", "check"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``dmg``; returns the exit status.

    0 done; 1 finished, but something failed, which is listed; 2 misuse or bad input, one message; 130 and 143 interrupted;
    70 a bug of ours, with traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    replace_closed()
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        status = _dispatch(words)
        # Flushed here, where a closed pipe can still be handled, and not when Python exits.
        flush()
        if is_lost() and _shows_alone(words):
            return _complain("standard output is closed: expected one that can be written, the output is lost", 2)
        return status
    except DomainMasksError as error:
        if VERBOSE in words:
            traceback.print_exc()
        with suppress(OutputError):
            flush()
        is_said = error.on_all_processes and not is_main_process()
        return error.exit_status if is_said else _complain(str(error), error.exit_status)
    except (KeyboardInterrupt, Terminated) as end:
        status = 143 if isinstance(end, Terminated) else 130
        message = ". ".join(["interrupted", *getattr(end, "__notes__", [])])
        # The first process is interrupted with the others, or says that it has lost one.
        return _complain(message, status) if is_main_process() else status
    except BrokenPipeError:
        # The reader of the output has closed the pipe: there is nothing more to print.
        let_go(sys.stdout)
        return 0
    except Exception:
        traceback.print_exc()
        return _complain("this is a bug of domain-masks; please report it with the lines above", 70)
    finally:
        signal.signal(signal.SIGTERM, before)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        write(_usage())
        return 0
    if words[0] in ("-V", "--version"):
        from domain_masks import __version__  # noqa: PLC0415

        write(f"domain-masks {__version__}\n")
        return 0
    command = words[0]
    if command not in COMMANDS:
        guess = nearest(command, COMMANDS)
        hint = f" Did you mean `dmg {guess}`?" if guess else ""
        return _complain(f"unknown command {command!r}: expected one of {', '.join(COMMANDS)}.{hint}", 2)
    if command != "train" and torchrun() is not None:
        message = (
            f"torchrun starts a command several times, and `dmg {command}` would do everything as often: start it alone"
        )
        return _complain(message, 2) if is_main_process() else 2
    module = importlib.import_module(f"domain_masks.cli.{command}")
    try:
        with nullcontext() if VERBOSE in words else _silent_libraries():
            status: int = module.main(words[1:])
    except SystemExit as end:
        # argparse exits after --help.
        return end.code if isinstance(end.code, int) else 0
    return status


def _shows_alone(words: list[str]) -> bool:
    """Whether the only result of a command is its output."""
    if not words or {"-h", "--help"} & {*words}:
        return False
    return words[0] in _SHOWN or words[:2] in _SHOWN_ACTIONS or bool({"--print_config", "--dry_run"} & {*words})


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (
        "usage: dmg COMMAND [...]\n\n"
        "Train image classifiers on several source domains with learned domain-specific masks (DMG) or a\n"
        "baseline, and measure them out of domain, in domain and with known domain.\n\n"
        f"{commands}\n\n"
        "`dmg COMMAND --help` shows the flags of a command, `dmg data ACTION --help` those of an action on\n"
        "datasets, `dmg --version` the version. `dmg train` alone trains DMG on the embedded digits.\n"
    )


def _complain(message: str, status: int) -> int:
    encoding = sys.stderr.encoding or "utf-8"
    try:
        sys.stderr.write(f"dmg: {message}\n".encode(encoding, "replace").decode(encoding))
        sys.stderr.flush()
    except (OSError, ValueError):
        let_go(sys.stderr)
    return status


def _silent_libraries() -> AbstractContextManager[None]:
    from domain_masks.progress import silent_libraries  # noqa: PLC0415

    return silent_libraries()


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated
