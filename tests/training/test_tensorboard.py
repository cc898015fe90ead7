from pathlib import Path

from domain_masks.training.tensorboard import TensorBoardWriter


class Lines:
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


def test_events_are_written_from_the_first_row_on(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    reporter = Lines()
    board = TensorBoardWriter(tmp_path / "events", 1, reporter)
    assert not (tmp_path / "events").exists()
    board.add({"epoch": 1, "loss": 0.5, "reason": "none"})
    board.add({"epoch": 2, "loss": 0.25, "reason": "none"})
    board.close()
    again = TensorBoardWriter(tmp_path / "events", 2, reporter)
    again.add({"epoch": 2, "loss": 0.125, "reason": "none"})
    again.close()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (2, 0.125)]
    assert reporter.lines == []


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path):
    (tmp_path / "events").touch()
    reporter = Lines()
    board = TensorBoardWriter(Path(tmp_path / "events"), 1, reporter)
    for epoch in (1, 2):
        board.add({"epoch": epoch, "loss": 0.5})
    board.close()
    (line,) = reporter.lines
    assert line.startswith("no more events for TensorBoard")
