"""Turn an opened image into RGB bytes of one size, and these into normalised floats."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from domain_masks.data.cropping import Box
from domain_masks.data.image_files import jpeg_pixels
from domain_masks.data.image_modes import to_rgb
from domain_masks.errors import InputError, combine_errors, unknown
from domain_masks.records.preparation import IMAGENET_MEAN, IMAGENET_STD
from domain_masks.records.validation import describe_mistakes

if TYPE_CHECKING:
    from torch import Tensor

ImageBytes = npt.NDArray[np.uint8]

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_DRAFT_MARGIN = 2
_LARGEST = 8192
"""Twice the size that a run may have, which leaves room for a margin around it."""


Purpose = Literal["training", "evaluation"]


@dataclass(frozen=True)
class Decoding:
    """How images are decoded before a part of them is resized; equal for two :class:`Preprocessing` that decode alike.

    - ``side``: side that JPEG is reduced for, see :meth:`Preprocessing.parts`
    - ``value_range``, ``stored``: as in :class:`Preprocessing`
    """

    purpose: Purpose
    side: int
    value_range: tuple[float, float] | None = None
    stored: int | None = None


@dataclass(frozen=True)
class Preprocessing:
    """The steps from an opened image to a normalised tensor.

    - ``size``: side of the network's input, in pixels
    - ``resize``: side that the image (its shorter side, if not ``square``) is resized to before a square of ``size``
      is cut from its centre for evaluation; equal to ``size`` where the whole image is seen
    - ``square``: resize to a square, ignoring the aspect ratio, as the released code does for PACS
    - ``mean``, ``std``: per channel, of values in [0, 1]
    - ``training_size``: side of the square that a training image of ``size`` is a window of; None for size * 256 / 224, rounded
    - ``interpolation``: the filter with which images are resized, Pillow's ``bilinear`` or ``bicubic``
    - ``value_range``: black and white of images deeper than 8 bits; None: the range of their type, see :func:`to_rgb`
    - ``stored``: side of the square that every image is first resized to with a cubic filter, as the released code
      stores DomainNet; training then enlarges it to ``load_size``. None: no such step

    Raises InputError if a size does not fit the others.
    """

    size: int
    resize: int
    square: bool
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    training_size: int | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    value_range: tuple[float, float] | None = None
    stored: int | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"expected an image size of 1 pixel or more, got {self.size}")
        if self.resize < self.size:
            raise InputError(f"expected resize to be at least the size {self.size}, got {self.resize}")
        if self.load_size < self.size:
            raise InputError(f"expected training_size to be at least the size {self.size}, got {self.load_size}")
        if max(self.size, self.resize, self.load_size) > _LARGEST:
            raise InputError(f"expected images of at most {_LARGEST} pixels, got {self.size}, resized to {self.resize}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, (*self.mean, *self.std))):
            raise InputError(f"expected three finite means and deviations, got {self.mean} and {self.std}")
        if self.stored is not None and not 1 <= self.stored <= _LARGEST:
            raise InputError(f"expected images stored at 1 to {_LARGEST} pixels, got {self.stored}")
        if self.value_range is not None and not -math.inf < self.value_range[0] < self.value_range[1] < math.inf:
            raise InputError(f"expected a range of two finite values, the lower one first, got {self.value_range}")
        if min(self.std) <= 0:
            raise InputError(f"expected three means and three positive deviations, got {self.mean} and {self.std}")

    @property
    def load_size(self) -> int:
        """Side of the square that a random window of ``size`` is cut from, in pixels."""
        return round(self.size * 256 / 224) if self.training_size is None else self.training_size

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON or YAML file."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """Rebuild from :meth:`to_dict`; raises InputError for unknown or missing names and values of another type."""
        known = tuple(cls.__dataclass_fields__)
        for name in values:
            if name not in known:
                raise unknown("preprocessing setting", name, known)
        if missing := [name for name in ("size", "resize", "square") if name not in values]:
            raise InputError(
                f"expected the preprocessing settings size, resize and square, got no {', '.join(missing)}"
            )
        try:
            # JSON writes tuples as lists; all other types must match.
            return TypeAdapter(cls).validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            own = error.errors()[0].get("ctx", {}).get("error")
            if isinstance(own, InputError):
                raise own from error
            raise combine_errors(describe_mistakes(error, known, prefix="preprocessing.")) from error
        except (TypeError, ValueError) as error:
            raise InputError(f"expected numbers and booleans as preprocessing settings, got {values!r}") from error

    def load(self, image: Image.Image) -> Tensor:
        """Return the image as evaluation sees it, uint8 (3, size, size)."""
        return _channels_first(self.evaluation_pixels(image))

    def evaluation_pixels(self, image: Image.Image) -> ImageBytes:
        """Like :meth:`load`, as an array (size, size, 3)."""
        return self.evaluation_part(self.evaluation_image(image))

    def evaluation_image(self, image: Image.Image) -> Image.Image:
        """Return an opened image decoded for evaluation: RGB, upright, at the size that :meth:`evaluation_part` resizes."""
        return self._decoded(image, self.resize)

    def evaluation_part(self, decoded: Image.Image) -> ImageBytes:
        """Like :meth:`evaluation_pixels`, from the result of :meth:`evaluation_image`."""
        box = _central_box(decoded.width, decoded.height, self.size / self.resize, self.square)
        return self._resized(decoded, box, self.size)

    def decoding(self, purpose: Purpose) -> Decoding:
        """Return everything that decoded images depend on besides the files."""
        return Decoding(
            purpose, self.load_size if purpose == "training" else self.resize, self.value_range, self.stored
        )

    def decoded_size(self, image: Image.Image, purpose: Purpose) -> tuple[int, int]:
        """Return width and height, in either order, of an opened image once it is decoded; it is not decoded yet."""
        decoding = self.decoding(purpose)
        if self.stored is not None:
            side = self.load_size if purpose == "training" else self.stored
            return side, side
        self._reduce(image, decoding.side)
        return image.size

    @property
    def enlarged_to(self) -> int:
        """Side to which evaluation enlarges smaller images, in pixels; training enlarges them no more than that."""
        return self.resize

    def parts(self, image: Image.Image, choose: Callable[[int, int], Sequence[Box]]) -> ImageBytes:
        """Return parts of the image, each resized once from the original, as an array (V, size, size, 3).

        ``choose`` is given width and height of the area that may be seen in training, which is the whole image if ``square``
        and else its central square, and returns the V parts of it (left, top, right, bottom).
        """
        return self.crops(self.training_pixels(image), choose)

    def crops(self, pixels: ImageBytes, choose: Callable[[int, int], Sequence[Box]]) -> ImageBytes:
        """Like :meth:`parts`, from the result of :meth:`training_pixels`."""
        import torch  # noqa: PLC0415 - the description of images needs no torch

        from domain_masks.data.resizing import resized_crop  # noqa: PLC0415

        height, width = pixels.shape[:2]
        boxes = self.crop_boxes(width, height, choose)
        # Channels first, as batches have them, for all that the shape says.
        images = np.empty((len(boxes), 3, self.size, self.size), dtype=np.uint8)
        decoded, crops = torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(images)
        for crop, box in zip(crops, boxes, strict=True):
            crop.copy_(resized_crop(decoded, box, self.size, self.interpolation))
        return images.transpose(0, 2, 3, 1)

    def crop_boxes(self, width: int, height: int, choose: Callable[[int, int], Sequence[Box]]) -> list[Box]:
        """Return the parts that ``choose`` takes of the area that training may see, as parts of an image of this size."""
        left, top, right, bottom = map(int, _central_box(width, height, 1.0, self.square))
        boxes = choose(right - left, bottom - top)
        return [(box[0] + left, box[1] + top, box[2] + left, box[3] + top) for box in boxes]

    def normalize(self, images: Tensor) -> Tensor:
        """Turn uint8 (N, 3, H, W) into normalised float32 on the same device."""
        import torch  # noqa: PLC0415 - the description of images needs no torch

        if images.dtype != torch.uint8:
            raise InputError(f"expected images of type uint8, got {images.dtype}")
        return self.standardize(images.to(torch.float32).div_(255))

    def standardize(self, images: Tensor) -> Tensor:
        """Turn floats (N, 3, H, W) in [0, 1] into normalised ones."""
        import torch  # noqa: PLC0415

        from domain_masks.devices import moved  # noqa: PLC0415

        mean, std = (
            moved(torch.tensor(values, dtype=images.dtype), images.device).view(3, 1, 1)
            for values in (self.mean, self.std)
        )
        return (images - mean) / std

    def training_pixels(self, image: Image.Image) -> ImageBytes:
        """Return the RGB bytes that training crops are cut from, (H, W, 3)."""
        if self.stored is not None:
            decoded = self._decoded(image, self.load_size)
            return np.array(decoded.resize((self.load_size, self.load_size), Image.Resampling.BILINEAR))
        whole = image.size
        self._reduce(image, self.load_size)
        pixels = jpeg_pixels(image) if image.size == whole else None
        return np.array(to_rgb(image, self.value_range)) if pixels is None else pixels

    def _reduce(self, image: Image.Image, side: int) -> None:
        if image.format == "JPEG" and self.stored is None:
            # Decodes at 1/2, 1/4 or 1/8 where that still leaves more pixels than are needed: several times faster.
            image.draft(None, (_DRAFT_MARGIN * side, _DRAFT_MARGIN * side))

    def _decoded(self, image: Image.Image, side: int) -> Image.Image:
        self._reduce(image, side)
        decoded = to_rgb(image, self.value_range)
        if self.stored is None:
            return decoded
        return decoded.resize((self.stored, self.stored), Image.Resampling.BICUBIC)

    def _resized(self, decoded: Image.Image, box: tuple[float, float, float, float], size: int) -> ImageBytes:
        if decoded.size != (size, size) or box != (0, 0, size, size):
            decoded = decoded.resize((size, size), _FILTERS[self.interpolation], box)
        return np.asarray(decoded)


def _central_box(width: int, height: int, part: float, square: bool) -> tuple[float, float, float, float]:
    """Return the part of an image (left, top, right, bottom) that is resized to the wanted square."""
    wide, high = (width * part, height * part) if square else (min(width, height) * part,) * 2
    left, top = (width - wide) / 2, (height - high) / 2
    return left, top, left + wide, top + high


def _channels_first(pixels: ImageBytes) -> Tensor:
    import torch  # noqa: PLC0415

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
