"""A reporter that keeps what a run says."""

from __future__ import annotations

from domain_masks.progress import ConsoleReporter


class RecordingReporter(ConsoleReporter):
    """Prints nothing; ``lines`` has every line that was said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)
