"""The exceptions of the package; each message says what was expected, what was got, and what to do.

Every error that a user can cause is a subclass of :class:`DomainMasksError`; the command line prints only its message and
exits with its ``exit_status``. Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_LONGEST = 80
"""Most characters of a value in a message."""
_FEWEST_LETTERS = 4
"""Fewest letters of a word that is recognised as the beginning of a name."""


class DomainMasksError(Exception):
    """Base of all errors that the user can fix; the message says how.

    - ``on_all_processes``: whether every process of the run raises it, so that the first one alone has to say it
    """

    exit_status = 2
    on_all_processes = False


class InputError(DomainMasksError, ValueError):
    """A name, a value, a file or a combination of settings that cannot be used.

    Subclasses :class:`ValueError`, so that callers from Python may catch either.
    """


class RunFolderError(DomainMasksError):
    """A run folder that is missing, occupied, of another run, or not readable."""


class DiskFullError(RunFolderError):
    """A file that could not be written because the disk or the user's quota is full."""


class DownloadError(DomainMasksError):
    """A file that could not be downloaded, or that has the wrong content."""


class ArchiveError(DownloadError):
    """An archive that is damaged, or that would write outside of its folder."""


class DivergedError(DomainMasksError):
    """The training loss became NaN or infinite."""

    exit_status = 1


class LostProcessError(DomainMasksError):
    """Another process of the run has ended or does not answer."""

    exit_status = 1


class ParityError(DomainMasksError):
    """A written file that does not give the predictions of the model."""

    exit_status = 1


def shown(value: object) -> str:
    """Return a value for a message: its ``repr``, shortened to the beginning where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that ``name`` is most likely a misspelling of, or None.

    A misspelling has at most a third of its letters wrong, or is the beginning of the name, or has it as its beginning. Words
    that merely share letters (``steps``, ``sites``) are not suggested.
    """
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    wanted = name.lower()
    for match in difflib.get_close_matches(wanted, by_lower, n=5, cutoff=0.6):
        is_longer = min(len(wanted), len(match)) >= _FEWEST_LETTERS and (
            match.startswith(wanted) or wanted.startswith(match)
        )
        if is_longer or _typing_errors(wanted, match) <= max(1, max(len(wanted), len(match)) // 3):
            return by_lower[match]
    return None


def _typing_errors(first: str, other: str) -> int:
    """Return how many letters must be deleted, inserted, replaced, or swapped with their neighbour."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(first, 1):
        before, above, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and first[i - 2] == wanted:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]


def combine_errors(mistakes: Sequence[str]) -> InputError:
    """Build the error for one or several mistakes in settings: a line for each."""
    if len(mistakes) == 1:
        return InputError(mistakes[0])
    return InputError(f"{len(mistakes)} settings are wrong:\n" + "\n".join(f"  {line}" for line in mistakes))


def unknown(kind: str, name: str, candidates: Iterable[str], most: int = 30) -> InputError:
    """Build the error for a name that is not among ``candidates``: lists them and suggests the nearest.

    At most ``most`` candidates are listed; the rest is counted.
    """
    known = list(candidates)
    guess = nearest(name, known)
    listed = ", ".join(known[:most]) + (f", ... ({len(known) - most} more)" if len(known) > most else "")
    hint = f" Did you mean {guess!r}?" if guess else ""
    return InputError(f"unknown {kind} {name!r}: expected one of {listed}.{hint}")


def collected(subject: str, mistakes: Sequence[str], advice: str = "", most: int = 20) -> InputError:
    """Build the one error for all mistakes in ``subject``: counts them and shows at most ``most``, a line each."""
    hint = f"; {advice}" if advice else ""
    if len(mistakes) == 1:
        return InputError(f"{subject}: {mistakes[0]}{hint}")
    rest = [f"... and {len(mistakes) - most} more"] if len(mistakes) > most else []
    lines = "\n".join(f"  {mistake}" for mistake in [*mistakes[:most], *rest])
    return InputError(f"{subject}: {len(mistakes)} mistakes{hint}:\n{lines}")
