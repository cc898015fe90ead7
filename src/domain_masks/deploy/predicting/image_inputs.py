"""Open an image given as a path, PIL image, array or tensor, as training opens its files."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from domain_masks.data.image_files import open_image_file
from domain_masks.deploy.predicting.image_paths import Unreadable
from domain_masks.errors import InputError

ImageInput = str | bytes | os.PathLike[str] | Image.Image | npt.NDArray[Any] | Tensor
"""The types of one image, or of N images along a first axis; see :func:`each_image`."""

_FORMS = (
    "a path, a PIL image, an array (H, W), (H, W, 3), (H, W, 4) or (N, H, W, 3), or a tensor (3, H, W) or (N, 3, H, W)"
)
_PATHS = (str, bytes, os.PathLike)


def each_image(inputs: ImageInput | Iterable[ImageInput | Unreadable]) -> Iterator[ImageInput | Unreadable]:
    """Yield the images of one input or of an iterable of inputs; an array of N images yields N.

    - paths: of image files in any format and mode that training reads
    - PIL images, of any mode
    - numpy arrays (H, W), (H, W, 3), (H, W, 4), (N, H, W, 3): uint8, floats in [0, 1], or uint16 for (H, W)
    - tensors (3, H, W) or (N, 3, H, W), (1, H, W) for grey: uint8, or floats in [0, 1]

    Floats are rounded to 8 bits, as in files. :class:`Unreadable` items are passed on. Raises InputError for any other type.
    """
    if isinstance(inputs, np.ndarray | Tensor) and inputs.ndim == 4:
        yield from inputs
    elif isinstance(inputs, (*_PATHS, Image.Image, np.ndarray, Tensor)):
        yield inputs
    elif isinstance(inputs, Iterable) and not isinstance(inputs, dict) and not hasattr(inputs, "read"):
        for item in inputs:
            if isinstance(item, np.ndarray | Tensor) and item.ndim == 4:
                yield from item
            else:
                yield item
    else:
        hint = ": open it with PIL.Image.open" if hasattr(inputs, "read") else ""
        raise InputError(f"expected images, each {_FORMS}, got a {type(inputs).__name__}{hint}")


def name_of(image: Any) -> str | None:
    """Return the path of an image given as a path or opened by Pillow from one; otherwise None."""
    if isinstance(image, _PATHS):
        return os.fsdecode(image)
    name = getattr(image, "filename", None)
    return os.fsdecode(name) if name and isinstance(name, _PATHS) else None


def open_input(image: Any) -> Image.Image:
    """Open one image without decoding it.

    Raises InputError for unsupported types, and Pillow's own errors for files that are not images.
    """
    if isinstance(image, _PATHS):
        path = Path(os.fsdecode(image))
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("it is a folder" if path.is_dir() else "it is a device or a pipe, not a file")
        return open_image_file(path)
    if isinstance(image, Image.Image):
        return _copied(image)
    if isinstance(image, Tensor):
        return _from_tensor(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    raise InputError(f"expected an image as {_FORMS}, got a {type(image).__name__}")


def _copied(image: Image.Image) -> Image.Image:
    """Return a copy of an image; one that is not decoded yet is opened a second time.

    Preprocessing decodes JPEGs at a reduced size. Doing so on the caller's image would modify it, and decoding it at full size
    would give other pixels than decoding its file. Other formats are decoded as in training, whatever their metadata.
    """
    file = getattr(image, "fp", None)
    if file is None or not getattr(image, "tile", None) or image.tell() != 0:
        return image.copy()
    with suppress(OSError, ValueError, AttributeError):
        position = file.tell()
        file.seek(0)
        content = file.read()
        file.seek(position)
        return open_image_file(io.BytesIO(content))
    return image.copy()


def _from_tensor(tensor: Tensor) -> Image.Image:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise InputError(
            f"expected a tensor (3, H, W) or (N, 3, H, W), channels first, got the shape {tuple(tensor.shape)}"
        )
    plain = tensor.detach().cpu()
    if plain.dtype in (torch.float16, torch.bfloat16):
        plain = plain.float()
    array = plain.numpy()
    return _from_array(array[0] if len(array) == 1 else array.transpose(1, 2, 0))


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise InputError(
            f"expected an array (H, W), (H, W, 3), (H, W, 4) or (N, H, W, 3), channels last, got the shape {array.shape}"
        )
    if 0 in array.shape:
        raise InputError(f"expected an image of at least one pixel, got the shape {array.shape}")
    if np.issubdtype(array.dtype, np.floating):
        lowest, highest = float(array.min()), float(array.max())
        if not (lowest >= 0 and highest <= 1):  # NaN as well
            raise InputError(
                f"expected floats in [0, 1], got {lowest:g} to {highest:g}: divide by 255, or give uint8. Do not "
                "normalise images: the model does that"
            )
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8 and not (array.dtype == np.uint16 and array.ndim == 2):
        raise InputError(f"expected uint8, floats in [0, 1], or uint16 for a grey image (H, W), got {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))
