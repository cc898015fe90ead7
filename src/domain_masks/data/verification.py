"""Every picture of a dataset decoded before it is trained on, once."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import numpy as np

from domain_masks.data.dataset import ImageDataset, Int64Array, without_rows
from domain_masks.data.decoding import decode_all
from domain_masks.data.verification_memory import memory_of
from domain_masks.errors import InputError
from domain_masks.progress import Reporter
from domain_masks.records.config import RunConfig

_SHOWN = 10


@dataclass(frozen=True)
class BadPicture:
    """A picture that cannot be read: its row in the dataset, its id, and why."""

    row: int
    id: str
    reason: str


def verify(dataset: ImageDataset, workers: int | None, reporter: Reporter) -> tuple[BadPicture, ...]:
    """Return the pictures of ``dataset`` that cannot be decoded, in its order.

    Files are decoded in ``workers`` processes (None: one per core up to 8) and remembered by size and time of change in
    the cache folder: only new and changed ones are read again; rows of a table by the dataset's fingerprint and their
    ids. While one process decodes, others of the same folder or table wait and then use what it found. Pictures that
    are in memory need no verification.
    """
    opener = dataset.open_image
    remembered = memory_of(opener, dataset.ids, dataset.fingerprint)
    if remembered is None:
        return ()
    memory, names = remembered
    states = [memory.state_of(name) for name in names]
    bad: dict[int, str] = {}

    def unknown_rows() -> list[int]:
        unknown = []
        for row, (name, state) in enumerate(zip(names, states, strict=True)):
            known, problem = memory.recall(name, state)
            if not known:
                unknown.append(row)
            elif problem is not None:
                bad[row] = problem.reason
        return unknown

    if unknown_rows():
        with memory.alone(lambda: reporter.say("waiting for another process that verifies these pictures")):
            rows = unknown_rows()
            if rows:
                reporter.say(f"verifying {len(rows)} of {len(dataset)} pictures of {dataset.name}")
            found = decode_all(opener, rows, workers)
            for decoded in reporter.track(found, len(rows), "verifying pictures"):
                memory.note(names[decoded.row], states[decoded.row], decoded.problem)
                if decoded.problem is not None:
                    bad[decoded.row] = decoded.problem.reason
    return tuple(BadPicture(row, dataset.ids[row], bad[row]) for row in sorted(bad))


def readable(dataset: ImageDataset, config: RunConfig, reporter: Reporter) -> ImageDataset:
    """Return what of ``dataset`` a run may use: all of it or, with ``skip_bad``, what can be decoded.

    Without ``verify`` nothing is looked at. Raises InputError that names the pictures that cannot be decoded, and with
    ``skip_bad`` where they are all pictures of a domain or a class.
    """
    if not config.verify:
        return dataset
    bad = verify(dataset, config.workers, reporter)
    if not bad:
        return dataset
    where = f" --root {shlex.quote(str(config.root))}" if config.root is not None else ""
    command = f"`dmg data check {shlex.quote(config.dataset)}{where}`"
    counted = f"{len(bad)} of {len(dataset)} pictures of {dataset.name!r} cannot be read"
    if not config.skip_bad:
        lines = [f"  {_printable(picture.id)}: {picture.reason}" for picture in bad[:_SHOWN]]
        if len(bad) > _SHOWN:
            lines.append(f"  ... and {len(bad) - _SHOWN} more")
        raise InputError(
            f"{counted}:\n" + "\n".join(lines) + f"\nReplace or remove them ({command} lists all of them and what else "
            "is wrong), or leave them out with --skip_bad"
        )
    smaller = without_rows(dataset, [picture.row for picture in bad])
    for kind, names, before, after in (
        ("domain", dataset.domains, dataset.domain_indices, smaller.domain_indices),
        ("class", dataset.classes, dataset.labels, smaller.labels),
    ):
        if lost := _lost(names, before, after):
            raise InputError(
                f"{counted}, among them every picture of the {kind} {lost[0]!r}: expected at least one that can be "
                f"left with --skip_bad. {command} says why; replace them, or remove the {kind}"
            )
    reporter.say(f"{counted} and {'is' if len(bad) == 1 else 'are'} left out; {command} lists them")
    return smaller


def _lost(names: tuple[str, ...], before: Int64Array, after: Int64Array) -> list[str]:
    return [names[index] for index in np.setdiff1d(before, after).tolist()]


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
