"""What the system says of a disk, as one message."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domain_masks.errors import DownloadError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_errors(name: str, root: Path) -> Iterator[None]:
    """Raise DownloadError in place of an error of the system while ``name`` is put into ``root``."""
    try:
        yield
    except BrokenPipeError:
        # Nobody reads our output any more; the disk has nothing to do with it.
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise DownloadError(
                f"no space is left for {name} in {str(root)!r}; make room, or name another --root, and call again"
            ) from error
        where = f" at {str(error.filename)!r}" if error.filename is not None else ""
        raise DownloadError(
            f"cannot put {name} into {str(root)!r}: {error.strerror or error}{where}; expected a folder that can be read and "
            "written: check its permissions, or name another --root, and call again"
        ) from error
