import pytest

from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.findings import findings
from domain_masks.report.tables.sweep_tables import IOU, sweep_frame, sweeps_of


def one(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
    (row,) = frame.to_dict("records")
    return row


def test_sweeps_show_every_value_and_the_mean(swept):
    (group,) = groups_of(swept.runs)
    (sweep,) = sweeps_of(group)
    frame = sweep_frame(group, sweep)
    for value, iou in ((0.0, 0.9), (0.001, 0.8), (1.0, 0.2)):
        assert one(frame, measure=IOU, value=value, held_out="overall", site="mean")["mean"] == pytest.approx(iou)
    found = findings(group, [(sweep, frame)])
    overlap = one(found, finding="The overlap of the masks decreases with λ_O")
    assert overlap["result"] == "reproduced"
    assert overlap["value"] == pytest.approx(-0.7)
