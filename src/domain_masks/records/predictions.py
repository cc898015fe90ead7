"""The predictions of a trained model for every sample, with the labels."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.errors import InputError, RunFolderError, unknown
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, MASK_ENSEMBLE, PREDICTION_ENSEMBLE, WEIGHTED_ENSEMBLE
from domain_masks.records.files import check_schema, writing

SCHEMA = 1
SPLITS = ("validation", "test", "held_out")

_ARRAYS = ("ids", "labels", "domains", "splits")
_NAMES = ("domain_names", "classes", "sources")
_LOGITS = "logits/"
_DOMAINS = "domain_probabilities"


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """Logits of every ensemble for N samples, with their labels and domains; the content of ``predictions.npz``.

    - ``ids``: (N,) text, the sample's id, the same for every run on a dataset
    - ``labels``: (N,) int64, indices into ``classes``
    - ``domains``: (N,) int64, indices into ``domain_names``
    - ``domain_names``: all domains of the dataset
    - ``splits``: (N,) text: "validation" or "test" of a source domain, or "held_out"
    - ``logits``: ensemble -> (N, C) float32, finite. "predictions" is the prediction ensemble, which every method has,
      "masks" the mask ensemble, "weighted" that of the domains' own predictions by a domain classifier, "known:<source
      domain>" one domain's mask or head alone
    - ``classes``: the C classes
    - ``sources``: the D source domains, in the order of the masks' rows
    - ``domain_probabilities``: (N, D) float32, a domain classifier's probability of each source; None without one

    Other dtypes are converted. Raises InputError that lists every inconsistency.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    domains: NDArray[np.int64]
    domain_names: tuple[str, ...]
    splits: NDArray[np.str_]
    logits: Mapping[str, NDArray[np.float32]]
    classes: tuple[str, ...]
    sources: tuple[str, ...]
    domain_probabilities: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        converted: dict[str, Any] = {name: tuple(str(entry) for entry in getattr(self, name)) for name in _NAMES}
        converted["ids"] = np.asarray(self.ids, dtype=np.str_)
        converted["splits"] = np.asarray(self.splits, dtype=np.str_)
        converted["labels"] = _integers("labels", self.labels)
        converted["domains"] = _integers("domains", self.domains)
        converted["logits"] = {name: np.asarray(values, dtype=np.float32) for name, values in self.logits.items()}
        if self.domain_probabilities is not None:
            converted[_DOMAINS] = np.asarray(self.domain_probabilities, dtype=np.float32)
        for name, value in converted.items():
            object.__setattr__(self, name, value)
        problems = list(self._problems())
        if problems:
            raise InputError("these predictions do not fit together:\n- " + "\n- ".join(problems))

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Predictions({len(self):,} images of {', '.join(self.domain_names)}; {', '.join(self.logits)})"

    @property
    def ensembles(self) -> tuple[str, ...]:
        """The names of the ensembles, in their order."""
        return tuple(self.logits)

    def of(self, ensemble: str) -> NDArray[np.float32]:
        """Return the logits (N, C) of ``ensemble``; raises InputError that lists the available ensembles."""
        if ensemble not in self.logits:
            raise unknown("ensemble", ensemble, self.logits)
        return self.logits[ensemble]

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Predictions:
        """Return the samples at ``chosen``: a boolean mask (N,), or indices in any order."""
        arrays: dict[str, Any] = {name: getattr(self, name)[chosen] for name in _ARRAYS}
        likely = self.domain_probabilities
        arrays[_DOMAINS] = None if likely is None else likely[chosen]
        return replace(self, **arrays, logits={name: values[chosen] for name, values in self.logits.items()})

    def select(self, split: str | None = None, domain: str | None = None) -> Predictions:
        """Return the samples of a split, of a domain, or of a domain in a split; possibly none.

        Raises InputError for a split or a domain that does not exist.
        """
        chosen = np.ones(len(self), dtype=np.bool_)
        if split is not None:
            if split not in SPLITS:
                raise unknown("split", split, SPLITS)
            chosen &= self.splits == split
        if domain is not None:
            if domain not in self.domain_names:
                raise unknown("domain", domain, self.domain_names)
            chosen &= self.domains == self.domain_names.index(domain)
        return self.rows(chosen)

    @classmethod
    def concatenate(cls, parts: Sequence[Predictions]) -> Predictions:
        """Return the samples of all ``parts``, in order.

        Raises InputError if there are no parts or if they differ in domains, classes, sources, ensembles, or in whether they
        have domain probabilities.
        """
        if not parts:
            raise InputError("expected predictions to concatenate, got none")
        first = parts[0]
        for name in _NAMES:
            for part in parts[1:]:
                if getattr(part, name) != getattr(first, name):
                    raise InputError(
                        f"expected predictions with equal {name}, got {getattr(first, name)} and {getattr(part, name)}"
                    )
        for part in parts[1:]:
            if set(part.logits) != set(first.logits):
                raise InputError(
                    f"expected predictions with equal ensembles, got {list(first.logits)} and {list(part.logits)}"
                )
        arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
        logits = {name: np.concatenate([part.logits[name] for part in parts]) for name in first.logits}
        likely = [part.domain_probabilities for part in parts]
        known = [values for values in likely if values is not None]
        if 0 < len(known) < len(likely):
            raise InputError(
                f"expected predictions that all have domain probabilities, got {len(known)} of {len(likely)}"
            )
        arrays[_DOMAINS] = np.concatenate(known) if known else None
        return replace(first, **arrays, logits=logits)

    def save(self, path: Path | str) -> None:
        """Write a compressed npz without pickled objects, whole or not at all; equal predictions are equal files."""
        content: dict[str, NDArray[Any]] = {"schema": np.asarray(SCHEMA, dtype=np.int64)}
        content |= {name: getattr(self, name) for name in _ARRAYS}
        content |= {name: np.asarray(getattr(self, name), dtype=np.str_) for name in _NAMES}
        content |= {_LOGITS + name: values for name, values in self.logits.items()}
        if self.domain_probabilities is not None:
            content[_DOMAINS] = self.domain_probabilities
        with writing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **content)

    @classmethod
    def load(cls, path: Path | str) -> Predictions:
        """Read what :meth:`save` wrote.

        Raises RunFolderError that names the file if it is missing, malformed, incomplete, or written by a newer version.
        """
        path = Path(path)
        content = _arrays(path)
        missing = [name for name in (*_ARRAYS, *_NAMES) if name not in content]
        schema = content.get("schema")
        version = None if schema is None else schema.item() if schema.ndim == 0 else schema.tolist()
        check_schema(version, SCHEMA, path, "write it again with `dmg evaluate RUN`")
        if missing:
            raise RunFolderError(
                f"{path} is incomplete: expected {', '.join(missing)} as well. Write it again with `dmg evaluate RUN`"
            )
        arrays: dict[str, Any] = {name: content[name] for name in _ARRAYS}
        arrays |= {name: tuple(content[name].tolist()) for name in _NAMES}
        logits = {name[len(_LOGITS) :]: values for name, values in content.items() if name.startswith(_LOGITS)}
        try:
            return cls(**arrays, logits=logits, domain_probabilities=content.get(_DOMAINS))
        except (InputError, ValueError, TypeError) as error:
            raise RunFolderError(f"{path} is malformed: {error}") from error

    def _problems(self) -> Iterator[str]:
        """Yield a sentence for every inconsistency."""
        count = len(self.ids)
        shapes = {name: getattr(self, name).shape for name in _ARRAYS}
        wrong = {name: shape for name, shape in shapes.items() if shape != (count,)}
        if wrong:
            yield f"expected ids, labels, domains and splits of one length, got the shapes {shapes}"
            return
        for name in _NAMES:
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                yield f"expected {name} that differ, got {list(getattr(self, name))}"
        if foreign := [source for source in self.sources if source not in self.domain_names]:
            yield f"expected sources among the domains {list(self.domain_names)}, got {foreign}"
        for name, among in (("labels", "classes"), ("domains", "domain_names")):
            values, limit = getattr(self, name), len(getattr(self, among))
            outside: NDArray[np.bool_] = (values < 0) | (values >= limit)
            if outside.any():
                yield (
                    f"expected {name} from 0 to {limit - 1} (indices into {among}), got {values[outside][0]} "
                    f"for sample {self._first_id(outside)!r}"
                )
                return
        if strange := sorted(set(np.unique(self.splits).tolist()) - set(SPLITS)):
            yield f"expected splits among {list(SPLITS)}, got {strange}"
        sources = [index for index, name in enumerate(self.domain_names) if name in self.sources]
        leaked = (self.splits == "held_out") & np.isin(self.domains, sources)
        if leaked.any():
            yield (
                f"expected held-out samples of domains that are no source, got {self._first_id(leaked)!r} of source "
                f"{self.domain_names[self.domains[leaked][0]]!r}"
            )
        yield from self._logits_problems(count)
        yield from self._domain_problems(count)

    def _first_id(self, chosen: NDArray[np.bool_]) -> str:
        return str(self.ids[chosen][0])

    def _logits_problems(self, count: int) -> Iterator[str]:
        if PREDICTION_ENSEMBLE not in self.logits:
            yield f"expected the ensemble {PREDICTION_ENSEMBLE!r}, which every method has, got {list(self.logits)}"
        allowed = (
            PREDICTION_ENSEMBLE,
            MASK_ENSEMBLE,
            WEIGHTED_ENSEMBLE,
            *(KNOWN_DOMAIN + source for source in self.sources),
        )
        for name, values in self.logits.items():
            if name.startswith(KNOWN_DOMAIN) and name not in allowed:
                yield f"expected the ensembles {', '.join(allowed)}, got {name!r}"
            if values.shape != (count, len(self.classes)):
                yield f"expected logits {name!r} of shape {(count, len(self.classes))}, got {values.shape}"
                continue
            broken: NDArray[np.bool_] = np.asarray(~np.isfinite(values).all(axis=1))
            if broken.any():
                yield f"expected finite logits, got NaN or infinity in {name!r} for sample {self._first_id(broken)!r}"

    def _domain_problems(self, count: int) -> Iterator[str]:
        likely = self.domain_probabilities
        if likely is None:
            return
        if likely.shape != (count, len(self.sources)):
            yield f"expected domain probabilities of shape {(count, len(self.sources))}, got {likely.shape}"
            return
        broken = np.asarray(~((likely >= 0) & (likely <= 1)).all(axis=1))
        if broken.any():
            yield f"expected domain probabilities in [0, 1], got others for sample {self._first_id(broken)!r}"


def _integers(name: str, values: Any) -> NDArray[np.int64]:
    """Return ``values`` as int64; raises InputError unless they are integers."""
    numbers = np.asarray(values)
    if numbers.size and not np.issubdtype(numbers.dtype, np.integer):
        raise InputError(f"expected {name} as whole numbers, got {numbers.dtype}")
    return numbers.astype(np.int64)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of an npz file; pickled ones are refused."""
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing: expected the predictions that a run leaves behind") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunFolderError(
            f"{path} cannot be read: expected an npz file of predictions, got an error ({error}). Write it again with "
            "`dmg evaluate RUN`"
        ) from error
