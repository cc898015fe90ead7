"""What is seen of a run: bars on a terminal, plain lines in a file, nothing that stops it where nobody reads."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from domain_masks.progress import ConsoleReporter, silent_libraries

NESTED = textwrap.dedent(
    """
    from domain_masks.progress import ConsoleReporter
    reporter = ConsoleReporter()
    for number in reporter.track(range(3), 3, "outer"):
        for _ in reporter.track(range(2), 2, "inner"):
            reporter.console.print("", end="")
        reporter.say(f"line {number} [bold]")
    reporter.say("the end")
    """
)


def on_a_terminal(code: str, **variables: str) -> str:
    """Run a program whose standard error is a pseudo-terminal; return what was written to it."""
    controller, terminal = pty.openpty()
    environment = {
        "TERM": "xterm",
        **{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")},
        **variables,
    }
    process = subprocess.Popen([sys.executable, "-c", code], stderr=terminal, env=environment)
    os.close(terminal)
    written = b""
    while True:
        try:
            part = os.read(controller, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        written += part
    os.close(controller)
    assert process.wait(timeout=60) == 0, written
    return written.decode()


def test_bars_appear_on_a_terminal_and_vanish() -> None:
    written = on_a_terminal(NESTED)
    assert "outer" in written
    assert "inner" in written
    assert "\x1b[2K" in written, "lines are erased"
    assert "line 2 [bold]" in written
    last = written[written.rindex("\x1b") :]
    assert "the end" in last
    assert "outer" not in last


def test_no_colour_on_a_terminal_where_none_is_wanted() -> None:
    coloured, plain = on_a_terminal(NESTED), on_a_terminal(NESTED, NO_COLOR="1")
    assert "\x1b[38;5;" in coloured or "\x1b[3" in coloured
    assert "\x1b[38;5;" not in plain
    assert not any(f"\x1b[{number}m" in plain for number in range(30, 38))


def test_a_dumb_terminal_gets_plain_lines() -> None:
    assert "\x1b" not in on_a_terminal(NESTED, TERM="dumb")


@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1"}, {"TERM": "dumb"}, {"TTY_COMPATIBLE": "1"}], ids=str)
def test_a_pipe_gets_no_control_characters(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NESTED], capture_output=True, text=True, check=True, env={**os.environ, **variables}
    )
    assert done.stdout == ""
    assert done.stderr.splitlines() == ["line 0 [bold]", "line 1 [bold]", "line 2 [bold]", "the end"]


class Clock:
    def __init__(self, *steps: float) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "total", "shown"),
    [
        (0.01, 100, []),
        (1.5, 20, [35, 70]),
        (11.0, 5, [20, 40, 60, 80]),
        (3.0, 1000, [1, 2, 3]),
    ],
)
def test_a_long_stage_says_how_far_it_is(
    seconds: float, total: int, shown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, clock = io.StringIO(), Clock()
    monkeypatch.setattr(sys, "stderr", stream)
    reporter = ConsoleReporter(clock=clock)
    for number, _ in enumerate(reporter.track(range(total), total, "features of photo")):
        if number >= 35:
            break
        clock.now += seconds
    assert stream.getvalue().splitlines() == [f"features of photo: {share} %" for share in shown]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = ConsoleReporter(quiet=True)
    reporter.say("a line")
    assert list(reporter.track([1, 2], 2, "stage")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_libraries_are_silent_only_within_the_block(recwarn: pytest.WarningsRecorder) -> None:
    import logging  # noqa: PLC0415
    import warnings  # noqa: PLC0415

    with silent_libraries():
        warnings.warn("of a library", stacklevel=1)
        assert not logging.getLogger("lightning").isEnabledFor(logging.WARNING)
        assert logging.getLogger("lightning").isEnabledFor(logging.ERROR)
    assert len(recwarn) == 0
    assert logging.getLogger("lightning").isEnabledFor(logging.WARNING)


RUN = "from domain_masks.progress import ConsoleReporter\nr = ConsoleReporter()\n" + (
    "for i in r.track(range(3), 3, 'x'):\n    r.say('a line')\nopen('done', 'w').close()\n"
)


def test_a_reader_that_has_gone_does_not_stop_a_run(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", RUN], stderr=writing, cwd=tmp_path, check=False)
    os.close(writing)
    assert done.returncode == 0
    assert (tmp_path / "done").exists()


def test_a_closed_standard_error_does_not_stop_a_run(tmp_path: Path) -> None:
    subprocess.run(["bash", "-c", '"$0" -c "$1" 2>&-', sys.executable, RUN], cwd=tmp_path, check=True)
    assert (tmp_path / "done").exists()


NOTED = textwrap.dedent(
    """
    from domain_masks.progress import ConsoleReporter
    reporter = ConsoleReporter()
    for number in reporter.track(range(2), 2, "epoch 1/3"):
        reporter.note(f"loss {number}.25 [x]")
        reporter._progress.refresh()
    """
)


def test_a_note_stands_beside_the_bar() -> None:
    written = on_a_terminal(NOTED, COLUMNS="120")
    assert "loss 1.25 [x]" in written


def test_a_note_is_part_of_the_occasional_lines_of_its_stage(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(0, 10_000, 11))
    reporter = ConsoleReporter(clock=lambda: float(next(seconds)))
    for number in reporter.track(range(3), 3, "epoch 1/3"):
        reporter.note(f"loss {number}.25")
    for _ in reporter.track(range(2), 2, "predicting"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["epoch 1/3: 33 %, loss 0.25", "epoch 1/3: 66 %, loss 1.25", "predicting: 50 %"]


def test_a_notebook_has_bars_where_it_has_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = ConsoleReporter()
    reporter.console.is_jupyter = True
    assert reporter.shows_bars
    monkeypatch.setattr("domain_masks.progress.find_spec", lambda _name: None)
    assert not reporter.shows_bars
    quiet = ConsoleReporter(quiet=True)
    quiet.console.is_jupyter = True
    assert not quiet.shows_bars
