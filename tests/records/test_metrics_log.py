import math

import numpy as np
import pytest

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records import MetricsLog
from domain_masks.records.analysis import SiteEpoch
from domain_masks.records.metrics_log import kind_column, mask_columns, masks_in, overlap_column, site_epochs
from domain_masks.records.results import SiteMasks


@pytest.fixture
def log(tmp_path):
    return MetricsLog(tmp_path / "metrics.csv")


def test_rows_come_back_with_their_types(log):
    rows = [
        {"epoch": 1, "loss": 0.1 + 0.2, "phase": "warm, up\n2", "steps": 10},
        {"epoch": 2, "loss": 1e-17, "phase": "main", "steps": -3},
    ]
    for row in rows:
        log.append(row)
    assert log.read() == rows
    assert [type(value) for value in log.read()[0].values()] == [int, float, str, int]


def test_a_new_metric_gets_its_column(log):
    log.append({"epoch": 1, "loss": 1.5})
    log.append({"epoch": 2, "accuracy": 0.5})
    assert log.path.read_text() == "epoch,loss,accuracy\n1,1.5,\n2,,0.5\n"
    assert log.read() == [{"epoch": 1, "loss": 1.5}, {"epoch": 2, "accuracy": 0.5}]


def test_truncate_drops_what_will_be_written_again(log):
    for epoch in range(1, 6):
        log.append({"epoch": epoch, "loss": epoch / 2})
    log.truncate(3)
    assert [row["epoch"] for row in log.read()] == [1, 2, 3]
    before = log.path.read_bytes()
    log.truncate(3)
    assert log.path.read_bytes() == before
    log.truncate(0)
    assert log.read() == []
    log.append({"epoch": 1, "other": 1})
    assert log.path.read_text() == "epoch,other\n1,1\n"


def test_no_file_is_no_rows(log):
    assert log.read() == []
    log.truncate(2)
    assert not log.path.exists()


def test_numpy_and_not_finite_numbers(log):
    log.append({"epoch": np.int64(1), "loss": np.float32(0.5), "bound": math.inf, "broken": math.nan})
    (row,) = log.read()
    assert row["loss"] == 0.5
    assert row["bound"] == math.inf
    assert math.isnan(row["broken"])


def test_text_that_only_resembles_a_number(log):
    log.append({"epoch": 1, "name": "1_000", "other": "infinity pool"})
    assert log.read() == [{"epoch": 1, "name": "1_000", "other": "infinity pool"}]


@pytest.mark.parametrize("row", [{}, {"loss": 1.0}, {"epoch": 1.5}, {"epoch": "1"}, {"epoch": True}, {"epoch": 0}])
def test_epoch_is_needed(log, row):
    with pytest.raises(InputError, match="whole number from 1 as epoch"):
        log.append(row)
    assert not log.path.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("epoch,loss\n1\n", "expected 2 cells in row 2, got 1"), ("loss\n1\n", "epoch in row 2"), ('epoch\n"0', "error")],
)
def test_malformed_table_names_the_file(log, text, message):
    log.path.write_text(text)
    with pytest.raises(RunFolderError, match=rf"metrics\.csv is malformed.*{message}"):
        log.read()


def test_table_with_windows_line_ends(log):
    log.path.write_bytes(b"epoch,loss\r\n1,0.5\r\n")
    assert log.read() == [{"epoch": 1, "loss": 0.5}]


def test_epochs_are_read_from_the_columns_of_metrics(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    shares = {"mask_kinds/a.b/off": 0.5, "mask_kinds/a.b/shared": 0.25, "mask_kinds/a.b/specific": 0.25}
    log.append({"epoch": 1, "loss": 1.0})
    log.append({"epoch": 2, "mask_iou/a.b": 0.5, "mask_activated/a.b/in/out": 0.75, **shares})
    log.append({"epoch": 3, "mask_activated/a.b/in/out": 1.0, **shares})
    kinds = {"off": 0.5, "shared": 0.25, "specific": 0.25}
    assert site_epochs(log.read()) == [
        SiteEpoch(epoch=2, site="a.b", **kinds, activated={"in/out": 0.75}, overall_iou=0.5),
        SiteEpoch(epoch=3, site="a.b", **kinds, activated={"in/out": 1.0}),
    ]
    assert site_epochs([{"epoch": 0, "mask_iou/a": 1.0}]) == []


def test_what_the_columns_of_masks_say_is_read_back():
    statistics = {
        "overall_iou": 0.5,
        "activated": {"photo": 0.75, "in/out": 0.5},
        "kinds": {"off": 0.25, "shared": 0.5, "specific": 0.25},
    }
    row = {
        "epoch": 1,
        "loss": 2.0,
        **mask_columns("layer4.1", statistics),
        **mask_columns("fc", {**statistics, "kinds": {}}),
    }
    masks = masks_in(row)
    assert masks["layer4.1"] == SiteMasks(pairwise_iou={}, **statistics)
    assert (masks["fc"].kinds, masks["fc"].activated) == (None, statistics["activated"])
    assert row[overlap_column("fc")] == 0.5
    assert row[kind_column("layer4.1", "shared")] == 0.5


@pytest.mark.parametrize("value", [2.0, float("nan"), "much"])
def test_a_fraction_that_is_none_is_told_with_its_row(value):
    with pytest.raises(RunFolderError, match=r"row 3 of metrics\.csv"):
        masks_in({"epoch": 3, "mask_iou/fc": value})
