import shutil

import numpy as np
import pytest

from domain_masks.records.collection import collect
from domain_masks.report.runs.differences import AccuracyDifference
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.findings import gap
from report.made_runs import make_benchmark


@pytest.mark.parametrize(
    ("by_seed", "bounds", "result"),
    [
        ({0: 0.02, 1: 0.03}, (0.01, 0.04), "reproduced"),
        ({0: 0.05, 1: -0.001}, (0.01, 0.04), "not clear"),
        ({0: 0.001, 1: 0.1, 2: 0.001}, (0.01, 0.04), "not clear"),
        ({0: 0.02, 1: 0.03}, (-0.01, 0.04), "not clear"),
        ({0: -0.02, 1: -0.03}, (-0.04, -0.01), "not reproduced"),
    ],
)
def test_a_difference_is_seen_where_neither_images_nor_seeds_could_turn_it(by_seed, bounds, result):
    values = list(by_seed.values())
    assert AccuracyDifference(np.mean(values), 3, 4, by_seed, float(np.std(values, ddof=1)), bounds).result == result


def test_a_difference_that_other_images_could_turn_is_not_clear(tmp_path):
    make_benchmark(tmp_path, {"dmg": 0.7, "aggregate": 0.69}, [0])
    (group,) = groups_of(collect([tmp_path]).runs)
    lines = {line.method: line for line in group.lines}
    found = gap(group, lines["dmg"], lines["aggregate"], ("out_of_domain", "out_of_domain"))
    right = {
        method: np.array(
            [
                np.mean(r.predictions().select("held_out").of("predictions").argmax(1) == np.arange(40) % 3)
                for r in group.records
                if r.results.method == method
            ]
        )
        for method in lines
    }
    assert found.difference == pytest.approx((right["dmg"] - right["aggregate"]).mean())
    assert found.bounds[0] < found.difference < found.bounds[1]
    same = gap(group, lines["dmg"], lines["dmg"], ("out_of_domain", "out_of_domain"))
    assert (same.difference, same.result) == (0, "not clear")
    assert same.bounds[0] < 0 < same.bounds[1]


def test_a_difference_is_of_the_seeds_that_have_every_held_out_domain(tmp_path):
    out = make_benchmark(tmp_path, {"dmg": 0.8, "aggregate": 0.6}, [0, 1])
    shutil.rmtree(out / "dmg" / "target-2" / "seed-1")
    (group,) = groups_of(collect([out]).runs)
    lines = {line.method: line for line in group.lines}
    found = gap(group, lines["dmg"], lines["aggregate"], ("out_of_domain", "out_of_domain"))
    for folder in out.glob("*/*/seed-1"):
        shutil.rmtree(folder)
    (alone,) = groups_of(collect([out]).runs)
    first, second = ({line.method: line for line in alone.lines}[name] for name in ("dmg", "aggregate"))
    assert found == gap(alone, first, second, ("out_of_domain", "out_of_domain"))
    assert list(found.by_seed) == [0]
    assert found.difference == found.by_seed[0]


def test_without_a_common_seed_of_every_held_out_domain_there_is_no_difference(tmp_path):
    out = make_benchmark(tmp_path, {"dmg": 0.8, "aggregate": 0.6}, [0, 1])
    for place, seed in ((0, 0), (1, 1)):
        shutil.rmtree(out / "dmg" / f"target-{place}" / f"seed-{seed}")
    (group,) = groups_of(collect([out]).runs)
    lines = {line.method: line for line in group.lines}
    assert gap(group, lines["dmg"], lines["aggregate"], ("out_of_domain", "out_of_domain")) is None
