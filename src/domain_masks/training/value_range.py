"""Black and white level of images deeper than 8 bits, from the dataset itself: ``--value_range dataset``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from domain_masks.data import ImageDataset, split_domains
from domain_masks.data.image_files import UNREADABLE, upright
from domain_masks.data.image_modes import is_deep, range_holding, values_of
from domain_masks.errors import InputError
from domain_masks.progress import Reporter
from domain_masks.records.config import RunConfig
from domain_masks.records.setting_types import OWN_RANGE

_THREADS = 4
_PART = 256


def resolve_value_range(config: RunConfig, dataset: ImageDataset, reporter: Reporter) -> RunConfig:
    """Replace ``value_range: dataset`` by numbers, which are reported; return any other configuration unchanged.

    They are the smallest usual range (0 to 1, or 8, 10, 12, 14 or 16 bits) that holds all values of the sources' training
    images, or the range of these values where some are negative or larger. The held-out domain is not read. Raises InputError
    where no such image is deeper than 8 bits, or one cannot be read.
    """
    if config.value_range != OWN_RANGE:
        return config
    rows = split_domains(dataset, config.target or (), config.split_seed).train.indices.tolist()
    ranges = [bounds for bounds in reporter.track(_bounds(dataset, rows), len(rows), "looking for the range") if bounds]
    if not ranges:
        raise InputError(
            f"value_range: none of the {len(rows)} training images of {dataset.name!r} is deeper than 8 bits: expected some, "
            "whose own range is asked for. Leave it out"
        )
    lowest, largest = min(low for low, _ in ranges), max(high for _, high in ranges)
    low, high = range_holding(lowest, largest)
    reporter.say(
        f"value_range: {low:.10g} to {high:.10g} (dataset: {len(ranges)} of {len(rows)} training images are deeper than 8 bits "
        f"and hold {lowest:.6g} to {largest:.6g})"
    )
    return config.model_copy(update={"value_range": f"{low:.10g},{high:.10g}"})


def _bounds(dataset: ImageDataset, rows: list[int]) -> Iterator[tuple[float, float] | None]:
    def of(row: int) -> tuple[float, float] | None:
        try:
            with dataset.open_image(row) as image:
                if not is_deep(image):
                    return None
                values = values_of(upright(image))
        except UNREADABLE as problem:
            raise InputError(
                f"image {dataset.ids[row]!r} cannot be read ({problem}): replace the file or remove it from the dataset"
            ) from problem
        return (float(values.min()), float(values.max())) if values.size else None

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(rows), _PART):
            yield from pool.map(of, rows[start : start + _PART])
