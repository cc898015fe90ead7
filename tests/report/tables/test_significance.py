import pytest

from domain_masks.evaluation import compare
from domain_masks.report.tables.significance import pairs


def one(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
    (row,) = frame.to_dict("records")
    return row


def test_tests_are_paired_per_seed_and_pooled_over_domains(benchmark, group):
    frame = pairs(group)
    row = one(frame, first="aggregate", second="dmg", seed=1, held_out="photo")
    runs = {
        r.results.method: r.predictions().select("held_out")
        for r in benchmark.runs
        if r.results.seed == 1 and r.results.targets == ["photo"]
    }
    test = compare(runs["aggregate"], runs["dmg"])
    assert (row["first_only"], row["second_only"]) == (test.first_only, test.second_only)
    assert row["p_value"] == pytest.approx(test.p_value)
    whole = frame[frame["held_out"] == "overall"]
    assert len(whole) == 3 * 2
    assert (whole["p_corrected"] >= whole["p_value"]).all()
    parts = frame[(frame["first"] == "aggregate") & (frame["second"] == "dmg") & (frame["seed"] == 1)]
    sums = parts[parts["held_out"] != "overall"]["second_only"].sum()
    assert one(whole, first="aggregate", second="dmg", seed=1)["second_only"] == sums
