"""Scripts that other processes import: Python imports a program's main file in every process that it spawns."""

from __future__ import annotations

import multiprocessing

from domain_masks.errors import InputError

GUARD = 'if __name__ == "__main__":'


def refuse_imported_main(function: str) -> None:
    """Raise InputError in a process that is only being started, where it would execute the program once more.

    ``function``: the name of the function that the program calls, as in ``dm.train``.
    """
    # Of the standard library's own check, which comes only when that process starts another one.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(
            f"{function} is called while a process is started that imports this file: put the calls of the file below "
            f"`{GUARD}`, as for everything that starts processes"
        )
