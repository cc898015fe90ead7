"""The folder of one run: its files, and whether a run may start or be resumed there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records.files import (
    check_schema,
    is_there,
    partial_files,
    read_json,
    write_json,
    write_whole,
    writing,
)

FIGURES_SCHEMA = 1
MODEL_WEIGHTS = "model.safetensors"
MODEL_CARD = "model.json"
"""Names of the two files that a model consists of."""

_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|%+]|^\.|[. ]\Z')


def folder_name(text: str) -> str:
    """Return a text as the name of one folder; different texts have different names.

    Characters that some system refuses are percent-encoded, such as %2F for a slash; so are a plus, which joins the names of
    several domains, and a leading dot, which hides a folder.
    """
    return _NOT_IN_NAMES.sub(lambda match: f"%{ord(match[0]):02X}", text)


def require_model(folder: Path) -> None:
    """Raise RunFolderError unless a folder, named by ``--init_from``, holds the model of a finished run."""
    if not is_there(folder / MODEL_CARD):
        raise RunFolderError(
            f"--init_from {str(folder)!r}: expected the folder of a finished run, with {MODEL_CARD} and {MODEL_WEIGHTS}, "
            f"got {'one without them' if folder.is_dir() else 'no folder'}. Finish that run first, or give another"
        )


class RunFolder:
    """The paths of a run's files; nothing is read or written until a method is called.

    ``path`` is the folder, which need not exist.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def config(self) -> Path:
        """The complete settings, with which the run can be repeated."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """The software and hardware that the run was made with."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """A row per epoch; see :class:`~domain_masks.records.metrics_log.MetricsLog`."""
        return self.path / "metrics.csv"

    @property
    def results(self) -> Path:
        """The results of the run; written last. See :class:`~domain_masks.records.results.Results`."""
        return self.path / "results.json"

    @property
    def predictions(self) -> Path:
        """Logits per sample; see :class:`~domain_masks.records.predictions.Predictions`."""
        return self.path / "predictions.npz"

    @property
    def analysis(self) -> Path:
        """What the masks learned; see :class:`~domain_masks.records.analysis.Analysis`."""
        return self.path / "analysis.json"

    @property
    def failure(self) -> Path:
        """Why a run of a benchmark failed, until it succeeds; see :mod:`domain_masks.records.failure`."""
        return self.path / "failed.json"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def model(self) -> Path:
        """The weights of the best epoch."""
        return self.path / MODEL_WEIGHTS

    @property
    def model_card(self) -> Path:
        """The description from which the network for :attr:`model` is built."""
        return self.path / MODEL_CARD

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    @property
    def thumbnails(self) -> Path:
        """The folder of small images that galleries show; see :meth:`write_thumbnails`."""
        return self.figures / "thumbnails"

    @property
    def logged_runs(self) -> Path:
        """Which run of each service it is logged to, for a resumed run."""
        return self.path / "logged_runs.json"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    @property
    def exists(self) -> bool:
        """Whether the folder exists and is not empty."""
        with self._explaining():
            return self.path.is_dir() and any(self.path.iterdir())

    @property
    def is_finished(self) -> bool:
        """Whether the run is finished: ``results.json``, which is written last, can be read."""
        try:
            read_json(self.results)
        except RunFolderError:
            return False
        return True

    @contextmanager
    def figure(self, name: str) -> Iterator[Path]:
        """Yield a temporary path for the figure ``name``, as :func:`~domain_masks.records.files.writing` does.

        The name is listed in ``figures/index.json``, so that overwriting the run removes the figure and keeps other files.
        Raises InputError if ``name`` is not a plain file name.
        """
        if not _is_plain(name):
            raise InputError(f"expected a plain file name for a figure, got {name!r}")
        with writing(self.figures / name) as temporary:
            yield temporary
        self._note_figures({*self._own_figures(), name}, self._own_figures("thumbnails"))

    def remove_figures(self, names: Iterable[str]) -> None:
        """Remove figures that :meth:`figure` wrote; other files are kept."""
        own = self._own_figures()
        gone = {*names} & {*own}
        for name in gone:
            (self.figures / name).unlink(missing_ok=True)
        if gone:
            self._note_figures({*own} - gone, self._own_figures("thumbnails"))

    def write_thumbnails(self, contents: Mapping[str, bytes]) -> None:
        """Write small images, file name -> content, into :attr:`thumbnails`, replacing those written before.

        Their names are listed as those of figures are. Raises InputError if one is not a plain file name.
        """
        odd = [name for name in contents if not _is_plain(name)]
        if odd:
            raise InputError(f"expected plain file names for thumbnails, got {odd[0]!r}")
        before = self._own_figures("thumbnails")
        self._note_figures(self._own_figures(), {*before, *contents})
        for name, content in contents.items():
            write_whole(self.thumbnails / name, content)
        for name in {*before} - {*contents}:
            (self.thumbnails / name).unlink(missing_ok=True)
        self._note_figures(self._own_figures(), contents)

    def prepare(self, resume: bool = False, overwrite: bool = False) -> Literal["new", "resume", "finished"]:
        """Prepare the folder for a run and return what the run has to do.

        - "new": start; the folder exists and is writable. With ``overwrite`` the files of an earlier run are removed, and no
          others. With ``resume`` there was no checkpoint: ``metrics.csv`` is removed, and the other files will be replaced
        - "resume": resume from :attr:`last`
        - "finished": nothing, the run is done

        Raises InputError for both ``resume`` and ``overwrite``. Raises RunFolderError if neither is set and the folder is not
        empty, if there is no folder to resume, if a file is in its place, or if it is not writable.
        """
        self.refuse(resume, overwrite)
        if resume and self.is_finished:
            return "finished"
        self._make_writable()
        with self._explaining():
            for file in self._files():
                for partial in partial_files(file):
                    partial.unlink(missing_ok=True)
            if resume and self.last.is_file():
                return "resume"
            if overwrite:
                self._clear()
            else:
                self.metrics.unlink(missing_ok=True)
        return "new"

    def refuse(self, resume: bool = False, overwrite: bool = False) -> None:
        """Raise what :meth:`prepare` would, as far as that is known without writing anything."""
        if resume and overwrite:
            raise InputError(
                "expected --resume or --overwrite, got both: --resume continues the run, --overwrite restarts it"
            )
        self.refuse_file()
        if resume and not self.path.is_dir():
            raise RunFolderError(
                f"there is nothing to resume: expected a run folder at {self.path}, which does not exist. Check "
                "the path, or leave out --resume to start a new run"
            )
        if not resume and not overwrite and self.exists:
            finished = self.is_finished
            raise RunFolderError(
                f"{self.path} holds {'a finished run' if finished else 'files'} already: expected a new or an empty folder. "
                f"Add {'' if finished else '--resume to continue, '}--overwrite to restart, which removes what it holds "
                "of a run, or name another folder with --out"
            )

    @property
    def _figure_index(self) -> Path:
        return self.figures / "index.json"

    def _note_figures(self, files: Iterable[str], thumbnails: Iterable[str]) -> None:
        lists = {"files": sorted(files), "thumbnails": sorted(thumbnails)}
        write_json(
            self._figure_index, {"schema": FIGURES_SCHEMA, **{key: names for key, names in lists.items() if names}}
        )

    def _own_figures(self, key: str = "files") -> list[str]:
        """Return the names of the figures, or thumbnails, that were written here; raises RunFolderError for a newer list."""
        try:
            content = read_json(self._figure_index)
        except RunFolderError:
            return []
        check_schema(content.get("schema", FIGURES_SCHEMA), FIGURES_SCHEMA, self._figure_index)
        listed = content.get(key, [])
        return [name for name in listed if isinstance(name, str) and _is_plain(name)]

    def _files(self) -> list[Path]:
        """Return all files of a run; results first, so that a partly removed run does not count as finished."""
        files = [self.results, self.last, self.best, self.model, self.model_card, self.predictions, self.metrics]
        small = [self.thumbnails / name for name in self._own_figures("thumbnails")]
        figures = [*(self.figures / name for name in self._own_figures()), *small, self._figure_index]
        events = sorted(self.tensorboard.glob("events.out.tfevents.*"))
        records = [self.report, self.failure, self.logged_runs, self.environment, self.config]
        return [*files, self.analysis, *figures, *events, *records]

    def _clear(self) -> None:
        """Remove the files of a run, and its subfolders if they are empty then."""
        for file in self._files():
            file.unlink(missing_ok=True)
        for folder in (self.last.parent, self.thumbnails, self.figures, self.tensorboard):
            with suppress(OSError):
                folder.rmdir()

    def refuse_file(self) -> None:
        """Raise RunFolderError where the folder or one of its parents is a file."""
        for place in (self.path, *self.path.parents):
            with self._explaining():
                if place.exists() and not place.is_dir():
                    raise RunFolderError(
                        f"{place} is a file: expected a folder for the run at {self.path}. Name another with --out"
                    )

    def _make_writable(self) -> None:
        """Create the folder and try to write there, as permissions alone do not tell whether that is possible."""
        with self._explaining():
            self.path.mkdir(parents=True, exist_ok=True)
            trial = self.path / ".writable"
            trial.touch()
            trial.unlink()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Turn errors of the operating system into a message about this folder."""
        try:
            yield
        except OSError as error:
            raise RunFolderError(
                f"cannot use {self.path} as run folder: {error.strerror or error} ({error.filename}). Check the "
                "permissions, or name another folder with --out"
            ) from error
        except ValueError as error:  # a null in the name
            raise RunFolderError(
                f"cannot use {str(self.path)!r} as run folder: {error}. Name another folder with --out"
            ) from error


def _is_plain(name: str) -> bool:
    """Return whether ``name`` is a plain file name and not a path out of the folder."""
    return Path(name).name == name and name not in ("", ".", "..")
