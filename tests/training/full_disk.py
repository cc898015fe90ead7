"""A run on a disk that becomes full: no file of this process may grow beyond a size, as the system tells a full disk.

Run as a script: ``full_disk.py FOLDER SETTINGS SIZE EPOCH`` lets files grow to SIZE bytes from the end of EPOCH on (0: at
once) and prints the message with which the run ends, as JSON. In a process of its own, as the limit would hold for the
tests' own log as well.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import generated
from domain_masks.errors import RunFolderError
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import parse_config
from domain_masks.training import run


class Filling(ConsoleReporter):
    """Fills the disk when it is told of an epoch."""

    def __init__(self, size: int, epoch: str) -> None:
        super().__init__(quiet=True)
        self.size, self.epoch = size, epoch

    def say(self, line: str) -> None:
        if line.startswith(f"epoch {self.epoch}"):
            self.fill()

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


def main(folder: str, settings: str, size: str, epoch: str) -> None:
    """Run until the disk is full."""
    reporter = Filling(int(size), epoch)
    if epoch == "0":
        reporter.fill()
    config = parse_config({**generated.SETTINGS, **json.loads(settings)})
    try:
        run(config, Path(folder), dataset=generated.dataset(), reporter=reporter)
        print(json.dumps({"message": None}))
    except RunFolderError as error:
        print(json.dumps({"message": str(error)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
