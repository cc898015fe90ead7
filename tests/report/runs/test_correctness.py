from domain_masks.records.collection import collect
from domain_masks.report.runs.accuracies import overall, summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.significance import pairs
from report.made_runs import make_benchmark


def test_missing_predictions_leave_numbers_without_an_interval(tmp_path):
    make_benchmark(tmp_path, {"dmg": 0.8, "aggregate": 0.6}, [0])
    for path in tmp_path.rglob("predictions.npz"):
        path.write_bytes(b"PK")
    (group,) = groups_of(collect([tmp_path]).runs)
    frame = summary(group)
    assert overall(frame)["accuracy"].notna().all()
    assert frame["low"].isna().all()
    assert len(group.problems) == 8
    assert pairs(group).empty
