"""Hash every image of a dataset, and decode it once before it is trained on."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from domain_masks.data.content import UNREAD, hash_all
from domain_masks.data.dataset import HASH_BYTES, ImageDataset, Int64Array, without_rows
from domain_masks.data.decoding import Problem, decode_all
from domain_masks.data.openers import Opener, is_in_memory, states
from domain_masks.data.verification_memory import Entry, VerificationMemory, memory_of
from domain_masks.errors import InputError
from domain_masks.progress import Reporter
from domain_masks.records.config import RunConfig
from domain_masks.records.files import printable

_SHOWN = 10


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be read: its row in the dataset, its id, and why."""

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class Examined:
    """A dataset whose images have been identified, and those of them that cannot be read."""

    dataset: ImageDataset
    bad: tuple[BadImage, ...] = ()


def examine(dataset: ImageDataset, workers: int | None, reporter: Reporter, decode_images: bool = True) -> Examined:
    """Return ``dataset`` with the content of every image and, unless ``decode_images`` is false, what cannot be decoded.

    Files are read in ``workers`` processes (None: one per core up to 8), hashed and decoded from the same bytes, and remembered
    in the cache folder by their state and by that content: only new and changed ones are read again, and what was
    decoded once is not decoded again under the same content. While one process reads, others of the same folder or table
    wait and then use its results. Images in memory need no decoding.
    """
    opener = dataset.open_image
    if is_in_memory(opener):
        return Examined(_identified(dataset, dict(_hashed(opener, range(len(dataset))))))
    work = _Examination(dataset, *memory_of(opener, dataset.ids, dataset.fingerprint))
    if work.unread or (decode_images and work.undecoded()):
        with work.memory.alone(lambda: reporter.say("waiting for another process that verifies these images")):
            work.recall()
            work.read(work.known_before if decode_images else work.unread, reporter)
            if decode_images:
                work.decode(workers, reporter)
    return Examined(_identified(dataset, work.contents), work.bad() if decode_images else ())


def verify(dataset: ImageDataset, workers: int | None, reporter: Reporter) -> tuple[BadImage, ...]:
    """Return the images of ``dataset`` that cannot be decoded, in its order; see :func:`examine`."""
    return examine(dataset, workers, reporter).bad


def identified(
    dataset: ImageDataset, config: RunConfig, reporter: Reporter, decode_images: bool | None = None
) -> ImageDataset:
    """Return ``dataset`` with the content of every image; decoded at the same time where ``config`` verifies them anyway."""
    chosen = config.verify if decode_images is None else decode_images
    return examine(dataset, config.workers, reporter, chosen).dataset


class _Examination:
    """The known contents of a dataset's images, and the rows that still have to be read."""

    def __init__(self, dataset: ImageDataset, memory: VerificationMemory, names: Sequence[str]) -> None:
        self.dataset = dataset
        self.memory = memory
        self.names = names
        self.contents: dict[int, bytes] = {}
        self.unread: list[int] = []
        self.known_before: list[int] = []
        self._states = states(dataset.open_image, len(dataset))
        self._problems: dict[int, Problem] = {}
        self.recall()

    def recall(self) -> None:
        """Reuse the remembered content of every image whose file state is unchanged."""
        given = self.dataset.contents
        self.unread, self.known_before = [], []
        for row, (name, state) in enumerate(zip(self.names, self._states, strict=True)):
            content = self.memory.content_of(name, state) if given is None else given[row].tobytes().hex()
            if content is not None:
                self.contents[row] = bytes.fromhex(content)
            elif row not in self.contents:
                self.unread.append(row)
                if self.memory.was_decoded(name):
                    self.known_before.append(row)

    def read(self, rows: Sequence[int], reporter: Reporter) -> None:
        """Hash images without decoding them."""
        if not rows:
            return
        hashed = hash_all(self.dataset.open_image, rows)
        for row, content, state in reporter.track(hashed, len(rows), "reading images"):
            self.contents[row] = content
            if content != UNREAD:
                self.memory.note(self.names[row], Entry(state, content.hex(), False))
        self.unread = [row for row in self.unread if row not in self.contents]

    def undecoded(self) -> list[int]:
        """Return the rows of images that have not been decoded before."""
        return [row for row in range(len(self.dataset)) if not self._recall(row)[0]]

    def decode(self, workers: int | None, reporter: Reporter) -> None:
        """Hash and decode the images that have not been decoded before."""
        rows = self.undecoded()
        if not rows:
            return
        reporter.say(f"verifying {len(rows)} of {len(self.dataset)} images of {self.dataset.name}")
        decoded_images = decode_all(self.dataset.open_image, rows, workers)
        for decoded in reporter.track(decoded_images, len(rows), "verifying images"):
            self.contents[decoded.row] = decoded.content
            if decoded.problem is not None:
                self._problems[decoded.row] = decoded.problem
            entry = Entry(decoded.state, decoded.content.hex(), True, decoded.problem)
            self.memory.note(self.names[decoded.row], entry)

    def bad(self) -> tuple[BadImage, ...]:
        """Return the images that cannot be decoded, once all have been decoded."""
        unreadable = []
        for row, name in enumerate(self.dataset.ids):
            problem = self._problems.get(row) or self._recall(row)[1]
            if problem is not None:
                unreadable.append(BadImage(row, name, problem.reason))
        return tuple(unreadable)

    def _recall(self, row: int) -> tuple[bool, Problem | None]:
        content = self.contents.get(row)
        return (False, None) if content is None else self.memory.recall(self.names[row], content.hex())


def _hashed(opener: Opener, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    return ((row, content) for row, content, _ in hash_all(opener, rows))


def _identified(dataset: ImageDataset, contents: Mapping[int, bytes]) -> ImageDataset:
    if dataset.contents is not None:
        # Known contents are kept: images are compared with them when they are read.
        return dataset
    joined = b"".join(contents.get(row, UNREAD) for row in range(len(dataset)))
    return replace(dataset, contents=np.frombuffer(joined, dtype=np.uint8).reshape(len(dataset), HASH_BYTES))


def readable(dataset: ImageDataset, config: RunConfig, reporter: Reporter) -> ImageDataset:
    """Return the images of ``dataset`` that a run may use, with their contents; see :func:`usable`."""
    return usable(examine(dataset, config.workers, reporter, config.verify), config, reporter)


def usable(examined: Examined, config: RunConfig, reporter: Reporter, left_out: Collection[str] = ()) -> ImageDataset:
    """Return the images of a dataset that a run may use: all or, with ``skip_bad``, those that can be decoded.

    ``left_out`` names images that are skipped in any case. Raises InputError that names the images that cannot be
    decoded, or, with ``skip_bad``, a domain or a class that would lose all its images.
    """
    dataset = examined.dataset
    rows = [row for row, name in enumerate(dataset.ids) if name in left_out] if left_out else []
    bad = [image for image in examined.bad if image.id not in left_out]
    if not bad:
        return without_rows(dataset, rows)
    where = f" --root {shlex.quote(str(config.root))}" if config.root is not None else ""
    command = f"`dmg data check {shlex.quote(config.dataset)}{where}`"
    counted = f"{len(bad)} of {len(dataset)} images of {dataset.name!r} cannot be read"
    if not config.skip_bad:
        lines = [f"  {printable(image.id)}: {image.reason}" for image in bad[:_SHOWN]]
        if len(bad) > _SHOWN:
            lines.append(f"  ... and {len(bad) - _SHOWN} more")
        raise InputError(
            f"{counted}:\n" + "\n".join(lines) + f"\nReplace or remove them ({command} lists all of them and what else "
            "is wrong), or leave them out with --skip_bad"
        )
    smaller = without_rows(dataset, [*rows, *(image.row for image in bad)])
    for kind, names, before, after in (
        ("domain", dataset.domains, dataset.domain_indices, smaller.domain_indices),
        ("class", dataset.classes, dataset.labels, smaller.labels),
    ):
        if lost := _lost(names, before, after):
            raise InputError(
                f"{counted}, among them every image of the {kind} {lost[0]!r}: expected at least one that can be "
                f"left with --skip_bad. {command} says why; replace them, or remove the {kind}"
            )
    reporter.say(f"{counted} and {'is' if len(bad) == 1 else 'are'} left out; {command} lists them")
    return smaller


def _lost(names: tuple[str, ...], before: Int64Array, after: Int64Array) -> list[str]:
    return [names[index] for index in np.setdiff1d(before, after).tolist()]
