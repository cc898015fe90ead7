import numpy as np
import pytest

from domain_masks.evaluation import per_domain_accuracy
from domain_masks.report.tables.mask_tables import mask_by_domain_frame


def one(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
    (row,) = frame.to_dict("records")
    return row


def test_every_mask_on_every_domain(benchmark, group):
    line = next(line for line in group.lines if line.method == "dmg")
    frame = mask_by_domain_frame(group, line)
    row = one(frame, held_out="sketch", mask="known:photo", domain="cartoon")
    runs = [r.predictions() for r in benchmark.runs if r.results.method == "dmg" and r.results.targets == ["sketch"]]
    values = [per_domain_accuracy(run.select("validation"), "known:photo")["cartoon"] for run in runs]
    assert row["accuracy"] == pytest.approx(np.mean(values))
    assert one(frame, held_out="sketch", mask="predictions", domain="sketch")["runs"] == 2
